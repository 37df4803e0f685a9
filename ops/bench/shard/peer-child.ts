import { collectGarbage, serveCalls } from './child-calls.ts'
import { ClusteredData } from './clustered-data.ts'
import { engineOf, type PeerName, packageOf } from './peer-engines.ts'
import { requirePeer } from './peer-install.ts'
import { type Answers, recallOf, smallestEffort } from './recall.ts'
import { k, querySet, recallFloor } from './scene.ts'
import { queryAt, searchWindow } from './search-load.ts'

export interface PeerTask {
  readonly name: PeerName
  readonly directory: string
  readonly rows: number
  readonly seed: number
  readonly dims: number
  readonly queries: number
}

export interface PeerSpeed {
  readonly effort: number
  readonly recall: number
  readonly qps: number
  readonly latenciesMs: readonly number[]
}

/** One engine in a process of its own, for its memory to be told from others'. */
class PeerProcess {
  serving: object | null = null

  async build(task: PeerTask): Promise<number> {
    return engineOf(task.name).build({ ...task, data: new ClusteredData(task) })
  }

  /** Opens the engine and measures with one client at the smallest effort that reaches the floor. */
  async serve(task: PeerTask, truth: Answers, ms: number): Promise<PeerSpeed> {
    const engine = engineOf(task.name)
    const queries = querySet(new ClusteredData(task), task.queries)
    await engine.open({ ...task, data: new ClusteredData(task) })
    const { effort, recall } = await smallestEffort(async tried => {
      engine.setEffort(tried)
      const answers: Uint32Array[] = []
      for (let i = 0; i < queries.count; i++)
        answers.push(Uint32Array.from(await engine.search(queryAt(queries, i), k)))
      return recallOf(answers, truth)
    }, recallFloor)
    engine.setEffort(effort)
    await searchWindow(query => engine.search(query, k), queries, { ms: ms / 4, inFlight: 1 })
    const { qps, latenciesMs } = await searchWindow(query => engine.search(query, k), queries, { ms, inFlight: 1 })
    // Held, so that the memory measured next is that of an engine that serves.
    this.serving = engine
    collectGarbage()
    return { effort, recall, qps, latenciesMs }
  }

  /** Loads the engine's code and nothing else, for the memory of vectors to be told from that of programs. */
  idle(name: PeerName): void {
    const specifier = packageOf[name]
    if (specifier !== null) requirePeer(specifier)
    collectGarbage()
  }
}

export type { PeerProcess }

serveCalls(new PeerProcess())
