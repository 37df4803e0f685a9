import { type ChildProcess, fork } from 'node:child_process'
import { fileURLToPath } from 'node:url'
import type { BareAnswer, BareRequest } from './bare-loop-child.ts'

const entry = fileURLToPath(new URL('./bare-loop-child.ts', import.meta.url))

/**
 * The baseline of the benches: decode, detect, crop and embed in bare loops, one per process, with nothing around
 * them. Models are loaded before any clock runs.
 */
export class BareLoop {
  readonly #children: readonly ChildProcess[]

  private constructor(children: readonly ChildProcess[]) {
    this.#children = children
  }

  /** `model`: name of a bundled set. */
  static async open(processes: number, model = 'v1'): Promise<BareLoop> {
    const children = Array.from({ length: processes }, () => fork(entry, [model], { serialization: 'advanced' }))
    await Promise.all(children.map(child => answerOf(child)))
    return new BareLoop(children)
  }

  /** Indexes the pictures, each once, shared out over the processes as they get free. Wall time, ms. */
  async indexAll(paths: readonly string[]): Promise<number> {
    let next = 0
    const began = performance.now()
    await Promise.all(
      this.#children.map(async child => {
        while (next < paths.length) await ask(child, { type: 'index', path: paths[next++]! })
      }),
    )
    return performance.now() - began
  }

  /** Time of one picture alone in an idle process, ms, as the process itself measures it. */
  async timeOf(type: 'index' | 'analyse', path: string): Promise<number> {
    return (await ask(this.#children[0]!, { type, path })).tookMs
  }

  async close(): Promise<void> {
    await Promise.all(
      this.#children.map(child => {
        const exited = new Promise(resolve => child.once('exit', resolve))
        child.disconnect()
        return exited
      }),
    )
  }
}

async function ask(child: ChildProcess, request: BareRequest): Promise<BareAnswer> {
  const answer = answerOf(child)
  child.send(request)
  return answer
}

function answerOf(child: ChildProcess): Promise<BareAnswer> {
  return new Promise((resolve, reject) => {
    const onExit = (code: number | null): void => reject(new Error(`a bare loop exited with ${code}`))
    child.once('exit', onExit)
    child.once('message', answer => {
      child.off('exit', onExit)
      resolve(answer as BareAnswer)
    })
  })
}
