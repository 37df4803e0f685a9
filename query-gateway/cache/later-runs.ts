import { setTimeout as delay } from 'node:timers/promises'
import { SharedRuns } from './shared-runs.ts'

/** How long a question waits at most for the end of a run that began before it. */
const longestWaitMs = 50

interface Begun {
  readonly over: Promise<unknown>
}

/**
 * Runs whose results hold only for those who asked before they began. Whoever asks while one is under way waits for its
 * end, but not long, and shares the next with all who asked meanwhile. So many who ask the same at once make two runs.
 */
export class LaterRuns<V> {
  readonly #begun = new Map<string, Begun>()
  readonly #waiting = new SharedRuns<V>()

  /** @throws FreshetError `timeout` when the signal fires first; what the run throws */
  async join(
    key: string,
    signal: AbortSignal,
    begin: (signal: AbortSignal) => Promise<V>,
  ): Promise<{ readonly value: V; readonly joined: boolean }> {
    const begun = this.#begun.get(key)
    if (begun === undefined) return { value: await this.#begin(key, begin(signal)), joined: false }
    return this.#waiting.join(key, signal, async (runSignal, close) => {
      await Promise.race([begun.over, delay(longestWaitMs, undefined, { ref: false })])
      close()
      return this.#begin(key, begin(runSignal))
    })
  }

  #begin(key: string, result: Promise<V>): Promise<V> {
    const nothing = (): void => undefined
    const begun: Begun = { over: result.then(nothing, nothing) }
    this.#begun.set(key, begun)
    void begun.over.then(() => {
      if (this.#begun.get(key) === begun) this.#begun.delete(key)
    })
    return result
  }
}
