/** Durations of the most recent calls, ms. */
export class LatencyWindow {
  readonly #recent = new Float64Array(1024)
  #count = 0

  add(ms: number): void {
    this.#recent[this.#count % this.#recent.length] = ms
    this.#count++
  }

  summary(): { readonly count: number; readonly p50: number; readonly p99: number } {
    const sorted = this.#recent.slice(0, Math.min(this.#count, this.#recent.length)).sort()
    const quantile = (share: number): number => sorted[Math.floor(share * (sorted.length - 1))] ?? 0
    return { count: this.#count, p50: quantile(0.5), p99: quantile(0.99) }
  }
}
