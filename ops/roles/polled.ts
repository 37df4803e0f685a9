import { setTimeout as pause } from 'node:timers/promises'
import { asFreshetError, type FreshetError } from '../../schemas/errors.ts'

export interface PolledOptions<T> {
  readonly ask: () => Promise<T>
  /** Between the end of one question and the next. */
  readonly everyMs: number
  /** Told when asking begins to fail, not again until it has worked. */
  readonly onTrouble: (error: FreshetError) => void
}

const closeWithinMs = 1_000

/** Something asked for again and again in the background, so that nobody waits for it: what was said last holds. */
export class Polled<T> {
  readonly #options: PolledOptions<T>
  readonly #closing = new AbortController()
  #polling: Promise<void> = Promise.resolve()
  #value: T | null = null
  #failure: FreshetError | null = null

  private constructor(options: PolledOptions<T>) {
    this.#options = options
  }

  /** Resolves when it was asked once, whatever came of it. */
  static async start<T>(options: PolledOptions<T>): Promise<Polled<T>> {
    const polled = new Polled(options)
    await polled.#ask()
    polled.#polling = polled.#poll()
    return polled
  }

  /** The last answer; null before the first. */
  get value(): T | null {
    return this.#value
  }

  /** Why the last question had no answer; null when it had. */
  get failure(): FreshetError | null {
    return this.#failure
  }

  /** Waits for a question under way, but not for one that hangs. */
  async close(): Promise<void> {
    this.#closing.abort()
    await Promise.race([this.#polling, pause(closeWithinMs, undefined, { ref: false })])
  }

  async #poll(): Promise<void> {
    const { signal } = this.#closing
    for (;;) {
      await pause(this.#options.everyMs, undefined, { signal, ref: false }).catch(() => undefined)
      if (signal.aborted) return
      await this.#ask()
    }
  }

  async #ask(): Promise<void> {
    try {
      this.#value = await this.#options.ask()
      this.#failure = null
    } catch (thrown) {
      const hadNone = this.#failure === null
      this.#failure = asFreshetError(thrown)
      if (hadNone) this.#options.onTrouble(this.#failure)
    }
  }
}
