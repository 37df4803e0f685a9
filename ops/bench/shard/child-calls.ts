import { type ChildProcess, fork } from 'node:child_process'
import { once } from 'node:events'
import { readFileSync } from 'node:fs'
import { pssBytes } from '../../testing/server-process.ts'

/** The methods of an object as they are called from another process. */
export type Calls<T> = {
  readonly [K in keyof T]: T[K] extends (...args: infer A) => infer R ? (...args: A) => Promise<Awaited<R>> : never
}

interface CallMessage {
  readonly id: number
  readonly method: string
  readonly args: readonly unknown[]
}

type AnswerMessage =
  | { readonly id: number; readonly ok: true; readonly value: unknown }
  | { readonly id: number; readonly ok: false; readonly message: string }

interface Waiter {
  readonly resolve: (value: never) => void
  readonly reject: (error: Error) => void
}

/** In the child: answers the parent's calls with the methods of the object, and ends with the parent. */
export function serveCalls(target: object): void {
  const methods = target as Readonly<Record<string, (...args: readonly unknown[]) => unknown>>
  process.on('message', async ({ id, method, args }: CallMessage) => {
    try {
      answer({ id, ok: true, value: await methods[method]!(...args) })
    } catch (error) {
      answer({ id, ok: false, message: error instanceof Error ? (error.stack ?? error.message) : String(error) })
    }
  })
  process.on('disconnect', () => process.exit(0))
}

function answer(message: AnswerMessage): void {
  process.send?.(message)
}

/** A process that measures or is measured; its methods are called as if they were here. */
export class MeasuredProcess<T extends object> {
  readonly #child: ChildProcess
  readonly #waiting = new Map<number, Waiter>()
  readonly calls: Calls<T>
  #nextId = 0

  /** `entry`: the file that calls `serveCalls`. */
  constructor(entry: string) {
    this.#child = fork(entry, { serialization: 'advanced', execArgv: ['--expose-gc'] })
    this.#child.on('message', message => this.#settle(message as AnswerMessage))
    this.#child.once('exit', (code, signal) => this.#fail(new Error(`the process ended with ${code ?? signal}`)))
    this.calls = new Proxy({} as Calls<T>, {
      get: (_, method) => (method === 'then' ? undefined : (...args: unknown[]) => this.#call(String(method), args)),
    })
  }

  get pid(): number {
    return this.#child.pid!
  }

  /** Proportional set size of the process and its children, bytes. */
  pssBytes(): number {
    return pssBytes(this.#child.pid!)
  }

  /** The part of it that is pages of a mapped file of this name. */
  pssOfFileBytes(name: string): number {
    let total = 0
    let counts = false
    for (const line of readFileSync(`/proc/${this.#child.pid}/smaps`, 'utf8').split('\n')) {
      if (/^[0-9a-f]+-[0-9a-f]+ /.test(line)) counts = line.endsWith(`/${name}`)
      else if (counts) total += Number(/^Pss:\s+(\d+) kB/.exec(line)?.[1] ?? 0) * 1024
    }
    return total
  }

  /** `kill -9`, and gone. */
  async kill(): Promise<void> {
    await this.#end(() => this.#child.kill('SIGKILL'))
  }

  async close(): Promise<void> {
    await this.#end(() => this.#child.disconnect())
  }

  async #end(signal: () => void): Promise<void> {
    if (this.#child.exitCode !== null || this.#child.signalCode !== null) return
    const exited = once(this.#child, 'exit')
    signal()
    await exited
  }

  #call(method: string, args: readonly unknown[]): Promise<unknown> {
    return new Promise((resolve, reject) => {
      const id = this.#nextId++
      this.#waiting.set(id, { resolve, reject })
      this.#child.send({ id, method, args } satisfies CallMessage)
    })
  }

  #settle(message: AnswerMessage): void {
    const waiter = this.#waiting.get(message.id)
    this.#waiting.delete(message.id)
    if (message.ok) waiter?.resolve(message.value as never)
    else waiter?.reject(new Error(message.message))
  }

  #fail(error: Error): void {
    for (const { reject } of this.#waiting.values()) reject(error)
    this.#waiting.clear()
  }
}

/** A process for as long as the body runs. */
export async function withProcess<T extends object, R>(
  entry: string,
  body: (process: MeasuredProcess<T>) => Promise<R>,
): Promise<R> {
  const process = new MeasuredProcess<T>(entry)
  try {
    return await body(process)
  } finally {
    await process.close()
  }
}

/** Collects garbage, so that memory measured next is what is held. Only in a process that `MeasuredProcess` started. */
export function collectGarbage(): void {
  for (let i = 0; i < 3; i++) globalThis.gc?.()
}
