/** How far the controller may go. */
export interface RecallSettings {
  /** Share of one core's time that exact answers may take over the long run, 0 to 1. */
  readonly cpuShare: number
  /** Recall that the mean of the samples is held at or above. */
  readonly target: number
  readonly minEffort: number
  readonly maxEffort: number
}

/** `target` leaves room above the 0.99 that searches are measured at; 2 % of a core audits one query a second at 200,000 rows. */
export const defaultRecallSettings: RecallSettings = { cpuShare: 0.02, target: 0.992, minEffort: 24, maxEffort: 256 }

/** One live query answered a second time, exactly. */
export interface RecallSample {
  /** Hits of the answer that are among the exact ones ÷ exact hits. */
  readonly recall: number
  /** The effort the query was answered with. */
  readonly effort: number
  /** What the exact answer cost. */
  readonly cpuMs: number
}

export interface RecallStatus {
  /** Mean of the newest samples; null before the first. */
  readonly measured: number | null
  /** Samples since the start. */
  readonly samples: number
  readonly effort: number
  /** CPU time that exact answers took since the start. */
  readonly cpuMs: number
}

/** What a sample leads to. */
export type RecallAdvice =
  | { readonly type: 'effort'; readonly effort: number }
  /** More effort is not allowed and recall is too low: fewer, larger graphs would help. */
  | { readonly type: 'compact' }

/** Samples that `measured` is the mean of. */
const shownSamples = 200
/** Samples at one effort before it is raised, and before it is lowered: too little recall is worse than too much work. */
const samplesToRaise = 25
const samplesToLower = 200
const raiseBy = 1.25
const lowerBy = 0.9
/** Effort is lowered only while this much of the possible loss (1 - target) is unused. */
const slack = 0.6
/** No more than this much of the budget is saved up, ms of wall time: a quiet hour is not followed by a burst. */
const savedMs = 30_000
/** Exact answer of a shard whose cost nobody knows yet. */
const firstCostMs = 20
const mostOnTheirWay = 64

/**
 * Decides which live queries are answered exactly as well, and what their recall means for the search effort. A token
 * bucket over CPU time holds the cost to its share: an exact answer is begun only when what it is expected to cost is
 * there, and what it cost more is owed. Pure but for the time passed in.
 */
export class RecallController {
  readonly #settings: RecallSettings
  #effort: number
  #budgetMs = 0
  #lastMs: number
  #expectedMs = firstCostMs
  /** Taken from the budget for exact answers that are on their way. */
  #reserved: number[] = []
  #shown: number[] = []
  /** At the present effort. */
  #sum = 0
  #count = 0
  #samples = 0
  #cpuMs = 0

  constructor(settings: RecallSettings, start: { readonly effort: number; readonly nowMs: number }) {
    this.#settings = settings
    this.#effort = clamp(start.effort, settings)
    this.#lastMs = start.nowMs
  }

  /** True: answer this query exactly as well, and tell with `sampled`. */
  shouldAudit(nowMs: number): boolean {
    const { cpuShare } = this.#settings
    const passedMs = Math.max(0, nowMs - this.#lastMs)
    this.#lastMs = Math.max(this.#lastMs, nowMs)
    this.#budgetMs = Math.min(this.#budgetMs + passedMs * cpuShare, Math.max(savedMs * cpuShare, this.#expectedMs))
    if (this.#budgetMs < this.#expectedMs) return false
    this.#budgetMs -= this.#expectedMs
    this.#reserved.push(this.#expectedMs)
    // Of searches that were given up: their exact answers count as made.
    if (this.#reserved.length > mostOnTheirWay) this.#reserved.shift()
    return true
  }

  /** Null: go on as before. */
  sampled(sample: RecallSample): RecallAdvice | null {
    this.#budgetMs += (this.#reserved.shift() ?? 0) - sample.cpuMs
    this.#expectedMs += (sample.cpuMs - this.#expectedMs) / 4
    this.#samples++
    this.#cpuMs += sample.cpuMs
    this.#shown.push(sample.recall)
    if (this.#shown.length > shownSamples) this.#shown.shift()
    if (sample.effort !== this.#effort) return null
    this.#sum += sample.recall
    this.#count++
    return this.#advise()
  }

  status(): RecallStatus {
    const count = this.#shown.length
    const measured = count === 0 ? null : this.#shown.reduce((sum, recall) => sum + recall, 0) / count
    return { measured, samples: this.#samples, effort: this.#effort, cpuMs: this.#cpuMs }
  }

  #advise(): RecallAdvice | null {
    const { target, minEffort, maxEffort } = this.#settings
    const mean = this.#sum / this.#count
    if (this.#count >= samplesToRaise && mean < target) {
      if (this.#effort >= maxEffort) {
        this.#begin(this.#effort)
        return { type: 'compact' }
      }
      return this.#steer(this.#effort * raiseBy)
    }
    if (this.#count < samplesToLower) return null
    const isEasy = mean > target + (1 - target) * slack && this.#effort > minEffort
    if (isEasy) return this.#steer(this.#effort * lowerBy)
    this.#begin(this.#effort)
    return null
  }

  #steer(effort: number): RecallAdvice {
    this.#begin(clamp(effort, this.#settings))
    return { type: 'effort', effort: this.#effort }
  }

  #begin(effort: number): void {
    this.#effort = effort
    this.#sum = 0
    this.#count = 0
  }
}

function clamp(effort: number, { minEffort, maxEffort }: RecallSettings): number {
  return Math.min(maxEffort, Math.max(minEffort, Math.round(effort)))
}
