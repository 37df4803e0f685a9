import { setTimeout as delay } from 'node:timers/promises'
import type { ErrorCode, FreshetError } from '../../schemas/errors.ts'

const passing: ReadonlySet<ErrorCode> = new Set([
  'storage-full',
  'storage-failed',
  'log-unavailable',
  'queue-unavailable',
  'feature-store-unavailable',
  'registry-unavailable',
  'timeout',
  'overloaded',
  'not-ready',
])

/** The same call may succeed later without anyone's mending. A defect (`internal`) may not. */
export function isPassing(error: FreshetError): boolean {
  return passing.has(error.code)
}

/** Growing pauses between attempts: 100 ms, doubled each time, at most 5 s. */
export class Pauses {
  readonly #signal: AbortSignal

  /** Aborting ends a pause at once, and there are none after. */
  constructor(signal: AbortSignal) {
    this.#signal = signal
  }

  get ended(): boolean {
    return this.#signal.aborted
  }

  async before(attempt: number): Promise<void> {
    const pauseMs = Math.min(100 * 2 ** Math.min(attempt - 1, 16), 5_000)
    await delay(pauseMs, undefined, { signal: this.#signal, ref: false }).catch(() => undefined)
  }
}
