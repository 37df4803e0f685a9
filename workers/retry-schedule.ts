import type { WorkPriority } from '../schemas/embed-job.ts'
import type { FreshetError } from '../schemas/errors.ts'

export interface RetryOptions {
  /** Claims of a job before it is given up. */
  readonly maxAttempts: number
  /** Of a job that killed or hung a model process. */
  readonly maxDecoderAttempts: number
  /** A job that has been failing for longer is reported as failed, and goes on from the back of the queue. */
  readonly failAfterMs: number
  readonly clock: () => number
  /** 0 to 1, for jitter. */
  readonly random: () => number
}

export interface FailedAttempt {
  readonly jobId: string
  /** 1 for the first. */
  readonly attempt: number
  readonly priority: WorkPriority
  readonly error: FreshetError
}

export type RetryDecision =
  /** `report`: for the first time it is failing for too long; say so in the log now. */
  | { readonly type: 'retry'; readonly delayMs: number; readonly priority: WorkPriority; readonly report: boolean }
  | { readonly type: 'give-up' }

const firstPauseMs = 500
const longestPauseMs = 10 * 60_000
/** Since when a job fails is known for so many jobs; a forgotten one is reported later, never lost. */
const maxRemembered = 100_000

/** Decides what becomes of a job that failed: exponential pauses with jitter, bounded attempts. */
export class RetrySchedule {
  readonly #options: RetryOptions
  readonly #failing = new Map<string, { readonly sinceMs: number; reported: boolean }>()

  constructor(options: RetryOptions) {
    this.#options = options
  }

  decide({ jobId, attempt, priority, error }: FailedAttempt): RetryDecision {
    if (!error.retryable || attempt >= this.#maxAttempts(error)) {
      this.forget(jobId)
      return { type: 'give-up' }
    }
    const { failAfterMs, clock } = this.#options
    const failing = this.#remember(jobId)
    const isLate = clock() - failing.sinceMs > failAfterMs
    const report = isLate && !failing.reported
    failing.reported ||= isLate
    return { type: 'retry', delayMs: this.#pause(attempt, error), priority: isLate ? 'backfill' : priority, report }
  }

  /** The job is finished. */
  forget(jobId: string): void {
    this.#failing.delete(jobId)
  }

  #maxAttempts({ code }: FreshetError): number {
    const isDecoder = code === 'decoder-crashed' || code === 'decoder-timeout'
    return isDecoder ? this.#options.maxDecoderAttempts : this.#options.maxAttempts
  }

  #remember(jobId: string): { readonly sinceMs: number; reported: boolean } {
    const known = this.#failing.get(jobId)
    if (known) return known
    const failing = { sinceMs: this.#options.clock(), reported: false }
    this.#failing.set(jobId, failing)
    if (this.#failing.size > maxRemembered) this.forget(this.#failing.keys().next().value!)
    return failing
  }

  /** Half to all of the doubled pause; not before the time the image's host asked for. */
  #pause(attempt: number, error: FreshetError): number {
    const doubled = Math.min(longestPauseMs, firstPauseMs * 2 ** Math.min(attempt - 1, 30))
    const { retryAfterMs = 0 } = (error.details ?? {}) as { readonly retryAfterMs?: number }
    return Math.min(longestPauseMs, retryAfterMs + doubled * (0.5 + this.#options.random() / 2))
  }
}
