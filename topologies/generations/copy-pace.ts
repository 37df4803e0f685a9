/** What of a dispatcher's pace holds for a copy. */
export interface CopyBounds {
  readonly isPaused: boolean
  /** Of a generation that is copied an object counts as an image does; null: no bound. */
  readonly imagesPerSecond: number | null
}

/** Says how many records a copy may write now: an allowance that grows with time, a second's worth of it at most. */
export class CopyPace {
  #allowance = 0
  #refilledAtMs: number

  constructor(nowMs: number) {
    this.#refilledAtMs = nowMs
  }

  /** Of so many that are wanted; 0: none yet. */
  take(wanted: number, { isPaused, imagesPerSecond }: CopyBounds, nowMs: number): number {
    const sinceMs = Math.max(0, nowMs - this.#refilledAtMs)
    this.#refilledAtMs = nowMs
    if (isPaused) return 0
    if (imagesPerSecond === null) {
      this.#allowance = 0
      return wanted
    }
    // One at least, or a rate below that would never come to one.
    const most = Math.max(1, imagesPerSecond)
    this.#allowance = Math.min(most, this.#allowance + (sinceMs / 1_000) * imagesPerSecond)
    const taken = Math.min(wanted, Math.floor(this.#allowance))
    this.#allowance -= taken
    return taken
  }
}
