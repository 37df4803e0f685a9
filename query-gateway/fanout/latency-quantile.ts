const smallestMs = 0.05
const growth = 1.04
const bucketCount = 360
/** Beyond it, what is old counts half: the latest one to two thousand answers decide. */
const halveAtCount = 1_000
/** And so does what is older than this. */
const halveEveryMs = 30_000
/** Below it a quantile would say little. */
const minCount = 20
/** The quantile is looked up again after so many answers. */
const lookUpEvery = 16

/**
 * A quantile of recent latencies to 4%, in constant time and memory. The clock is the caller's, monotonic.
 * An answer that was not waited for is added with the time that was waited: that is right for quantiles below it.
 */
export class LatencyQuantile {
  readonly #share: number
  readonly #buckets = new Float64Array(bucketCount)
  #count = 0
  #halvedAtMs: number
  #sinceLookUp = lookUpEvery
  #valueMs: number | null = null

  constructor(share: number, nowMs: number) {
    this.#share = share
    this.#halvedAtMs = nowMs
  }

  add(ms: number, nowMs: number): void {
    this.#halve(nowMs)
    this.#buckets[bucketOf(ms)]! += 1
    this.#count++
    this.#sinceLookUp++
  }

  /** ms; null while too few answers are known. */
  value(nowMs: number): number | null {
    this.#halve(nowMs)
    if (this.#sinceLookUp >= lookUpEvery) this.#lookUp()
    return this.#valueMs
  }

  #halve(nowMs: number): void {
    const isDue = nowMs - this.#halvedAtMs >= halveEveryMs
    if (!isDue && this.#count < halveAtCount) return
    const halvings = isDue ? Math.floor((nowMs - this.#halvedAtMs) / halveEveryMs) : 1
    const factor = 0.5 ** Math.min(halvings, 64)
    for (let bucket = 0; bucket < bucketCount; bucket++) this.#buckets[bucket]! *= factor
    this.#count *= factor
    this.#halvedAtMs = nowMs
    this.#sinceLookUp = lookUpEvery
  }

  #lookUp(): void {
    this.#sinceLookUp = 0
    this.#valueMs = this.#count < minCount ? null : this.#upperBound()
  }

  #upperBound(): number {
    const wanted = this.#share * this.#count
    let reached = 0
    let bucket = 0
    while (bucket < bucketCount - 1) {
      reached += this.#buckets[bucket]!
      if (reached >= wanted) break
      bucket++
    }
    return smallestMs * growth ** bucket
  }
}

/** Bucket b holds what lies in (bound of b - 1, bound of b]. */
function bucketOf(ms: number): number {
  if (!(ms > smallestMs)) return 0
  return Math.min(bucketCount - 1, Math.ceil(Math.log(ms / smallestMs) / Math.log(growth) - 1e-9))
}
