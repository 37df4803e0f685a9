import { once } from 'node:events'
import { Worker } from 'node:worker_threads'
import type { BareUsearch } from './bare-usearch.ts'

export interface BareThreadData {
  readonly path: string
  readonly dims: number
  readonly expansionSearch: number
  readonly k: number
  readonly memory: SharedArrayBuffer
}

/** Of the two counts: queries asked, and queries answered. */
export const counts = { asked: 0, answered: 1 } as const
/** In the place of the count of queries asked: the thread ends. */
export const ended = -1

/** What an owner and the thread share: counts, the query, and the row numbers of its answer. */
export function viewsOf({ memory, dims, k }: Pick<BareThreadData, 'memory' | 'dims' | 'k'>) {
  return {
    counts: new Int32Array(memory, 0, 2),
    query: new Float32Array(memory, 8, dims),
    rows: new Uint32Array(memory, 8 + 4 * dims, k),
  }
}

/**
 * The bare library on a thread of its own, as a server has to call it whose event loop is not to stand still while it
 * searches: each query is handed over and its answer handed back, with nothing else done. One query at a time.
 */
export class BareThread {
  readonly #views: ReturnType<typeof viewsOf>
  readonly #worker: Worker

  private constructor(data: BareThreadData) {
    this.#views = viewsOf(data)
    this.#worker = new Worker(new URL('./bare-thread-entry.ts', import.meta.url), { workerData: data })
  }

  static async open({ dims, expansionSearch }: BareUsearch, path: string, k: number): Promise<BareThread> {
    const memory = new SharedArrayBuffer(8 + 4 * dims + 4 * k)
    const thread = new BareThread({ path, dims, expansionSearch, k, memory })
    await once(thread.#worker, 'message')
    return thread
  }

  /** Row numbers, nearest first. */
  async search(query: Float32Array): Promise<Uint32Array> {
    const { counts: state, query: slot, rows } = this.#views
    slot.set(query)
    const asked = Atomics.add(state, counts.asked, 1) + 1
    Atomics.notify(state, counts.asked)
    const waiting = Atomics.waitAsync(state, counts.answered, asked - 1)
    if (waiting.async) await waiting.value
    return rows.slice()
  }

  async close(): Promise<void> {
    const exit = once(this.#worker, 'exit')
    Atomics.store(this.#views.counts, counts.asked, ended)
    Atomics.notify(this.#views.counts, counts.asked)
    await exit
  }
}
