import type { SearchTimes } from '../schemas/shard-api.ts'

const kept = 1_024
const bounds = [0.1, 0.25, 0.5, 1, 2.5, 5, 10, 25, 50, 100, 250, 1_000]

/** Durations of calls, ms: the most recent ones, and how many took how long since the start. */
export class LatencyWindow {
  readonly #recent = new Float64Array(kept)
  /** By bound, the last one for those above all. Not cumulative. */
  readonly #buckets = new Float64Array(bounds.length + 1)
  #count = 0
  #sumMs = 0

  add(ms: number): void {
    this.#recent[this.#count % kept] = ms
    this.#count++
    this.#sumMs += ms
    const bucket = bounds.findIndex(bound => ms <= bound)
    this.#buckets[bucket === -1 ? bounds.length : bucket]! += 1
  }

  summary(): SearchTimes {
    const sorted = this.#recent.slice(0, Math.min(this.#count, kept)).sort()
    const quantile = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? 0
    let reached = 0
    const buckets = Array.from(this.#buckets, (count, index) => {
      reached += count
      return { upToMs: bounds[index] ?? null, count: reached }
    })
    return { count: this.#count, sumMs: this.#sumMs, p50: quantile(0.5), p99: quantile(0.99), buckets }
  }
}
