import type { BreakerOptions } from './fanout-options.ts'

/** `trial`: it was left out for long enough; one request may find out how it is. */
export type Admission = 'closed' | 'trial' | 'open'

/**
 * Whether a replica is asked, by how its latest requests ended:
 *
 * | state     | asked                              | goes on                                                       |
 * |-----------|------------------------------------|---------------------------------------------------------------|
 * | closed    | like its siblings                  | open: failures in a row, or a large share of bad ends         |
 * | open      | when there is nobody else          | half-open after `openMs`, doubled each time, up to `maxOpenMs`|
 * | half-open | by one request at a time           | closed when that is answered; open when it ends badly         |
 *
 * Bad ends are failures and losses: a replica that hangs fails nothing, since another replica is asked beside it and
 * answers first. A last resort's answer closes it too. The clock is the caller's, monotonic.
 */
export class CircuitBreaker {
  readonly #options: BreakerOptions
  /** 0 to 1: spreads the trials of many gateways. */
  readonly #random: () => number
  /** The latest ends, a ring; 1 is bad. */
  readonly #ends: Uint8Array
  #endCount = 0
  #badCount = 0
  #failuresInARow = 0
  #isOpen = false
  #isTrying = false
  /** When a trial may be made. */
  #untilMs = Number.NEGATIVE_INFINITY
  #lastOpenMs = 0
  #closedAtMs = Number.NEGATIVE_INFINITY

  constructor(options: BreakerOptions, random: () => number) {
    this.#options = options
    this.#random = random
    this.#ends = new Uint8Array(options.window)
  }

  admission(nowMs: number): Admission {
    if (!this.#isOpen) return 'closed'
    return !this.#isTrying && nowMs >= this.#untilMs ? 'trial' : 'open'
  }

  /** A request was sent under `trial`; it ends with one of the calls below. */
  beginTrial(): void {
    this.#isTrying = true
  }

  answered(nowMs: number): void {
    this.#failuresInARow = 0
    if (this.#isOpen) {
      this.#close(nowMs)
      return
    }
    this.#add(0)
  }

  failed(nowMs: number): void {
    this.#failuresInARow++
    this.#endBadly(nowMs)
  }

  /** Another replica, asked later, answered first. */
  lost(nowMs: number): void {
    this.#endBadly(nowMs)
  }

  /** The request was given up for a reason that is not the replica's. */
  forget(): void {
    this.#isTrying = false
  }

  #endBadly(nowMs: number): void {
    if (this.#isOpen) {
      if (this.#isTrying) this.#open(nowMs)
      return
    }
    this.#add(1)
    const { failures, window, badRatio } = this.#options
    const isBad = this.#endCount >= window && this.#badCount >= badRatio * window
    if (isBad || this.#failuresInARow >= failures) this.#open(nowMs)
  }

  #open(nowMs: number): void {
    const { openMs, maxOpenMs } = this.#options
    const recurs = this.#isOpen || nowMs - this.#closedAtMs < maxOpenMs
    this.#lastOpenMs = recurs ? Math.min(maxOpenMs, Math.max(openMs, 2 * this.#lastOpenMs)) : openMs
    this.#isOpen = true
    this.#isTrying = false
    this.#untilMs = nowMs + this.#lastOpenMs * (0.8 + 0.4 * this.#random())
  }

  #close(nowMs: number): void {
    this.#isOpen = false
    this.#isTrying = false
    this.#closedAtMs = nowMs
    this.#endCount = 0
    this.#badCount = 0
    this.#ends.fill(0)
  }

  #add(end: 0 | 1): void {
    const at = this.#endCount % this.#ends.length
    this.#badCount += end - this.#ends[at]!
    this.#ends[at] = end
    this.#endCount++
  }
}
