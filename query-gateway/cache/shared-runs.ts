import { untilAborted } from '../deadline.ts'

interface Run<V> {
  /** Null once nobody can join any more. */
  result: Promise<V> | null
  readonly ending: AbortController
  waiting: number
  isOver: boolean
}

/** Does what is wanted, not before the next turn; the signal fires when nobody wants it any more, and after `close` nobody joins. */
export type Begin<V> = (signal: AbortSignal, close: () => void) => Promise<V>

/**
 * One run by key at a time for all who want the same at the same time. A run belongs to nobody: whoever leaves, also
 * the one for whom it was begun, leaves it to the others, and it is aborted when nobody waits any more. Its failure is
 * everybody's; the next who comes after it begins anew.
 */
export class SharedRuns<V> {
  readonly #running = new Map<string, Run<V>>()

  /** Joins the run of the key, or begins it. @throws FreshetError `timeout` when the signal fires first; what the run throws */
  async join(
    key: string,
    signal: AbortSignal,
    begin: Begin<V>,
  ): Promise<{ readonly value: V; readonly joined: boolean }> {
    const known = this.#running.get(key)
    const run = known ?? this.#begin(key, begin)
    run.waiting++
    try {
      return { value: await untilAborted(run.result!, signal), joined: known !== undefined }
    } finally {
      run.waiting--
      if (run.waiting === 0) this.#leave(key, run)
    }
  }

  #begin(key: string, begin: Begin<V>): Run<V> {
    const ending = new AbortController()
    const result = begin(ending.signal, () => this.#forget(key, run))
    const run: Run<V> = { result, ending, waiting: 0, isOver: false }
    this.#running.set(key, run)
    const done = (): void => {
      run.isOver = true
      this.#forget(key, run)
    }
    result.then(done, done)
    return run
  }

  /** Nobody waits: who comes now must not get the abort of those before. */
  #leave(key: string, run: Run<V>): void {
    this.#forget(key, run)
    if (!run.isOver) run.ending.abort()
  }

  /** What V8's map still knows of it is not to keep the result: see `NumberMap`. */
  #forget(key: string, run: Run<V>): void {
    if (this.#running.get(key) === run) this.#running.delete(key)
    run.result = null
  }
}
