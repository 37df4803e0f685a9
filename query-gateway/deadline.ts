import { FreshetError } from '../schemas/errors.ts'

/**
 * The promise, or `timeout` once the signal aborts, whichever is first; for callees that may ignore the signal.
 * @throws FreshetError `timeout`
 */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort = (): void => undefined
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(new FreshetError('timeout', 'the time limit passed', { cause: signal.reason }))
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}

/**
 * When one query ends: its time is over, or its client has gone. Its timer goes with the query: one of each that came in
 * the last ten seconds would be thousands of signals for the garbage collector to look at.
 */
export class QueryTime {
  readonly limitMs: number
  readonly client: AbortSignal
  readonly #endsAtMs: number
  readonly #end = new AbortController()
  readonly #timer: NodeJS.Timeout
  readonly #left = (): void => this.#end.abort(this.client.reason)

  constructor(limitMs: number, client: AbortSignal) {
    this.limitMs = limitMs
    this.client = client
    this.#endsAtMs = performance.now() + limitMs
    this.#timer = setTimeout(() => this.#end.abort(new FreshetError('timeout', 'the time limit passed')), limitMs)
    if (client.aborted) this.#left()
    else client.addEventListener('abort', this.#left, { once: true })
  }

  get signal(): AbortSignal {
    return this.#end.signal
  }

  /** Runs what others may share, who stay when this client goes: it has what is left of this time, and ends with `signal`. */
  async limit<T>(signal: AbortSignal, run: (signal: AbortSignal) => Promise<T>): Promise<T> {
    if (signal === this.client) return run(this.signal)
    const shared = new QueryTime(Math.max(0, this.#endsAtMs - performance.now()), signal)
    try {
      return await run(shared.signal)
    } finally {
      shared.end()
    }
  }

  /** The query is answered: its signal does not fire any more. */
  end(): void {
    clearTimeout(this.#timer)
    this.client.removeEventListener('abort', this.#left)
  }
}
