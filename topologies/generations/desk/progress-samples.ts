/** How fast something has gone lately, by looks at how far it was. */
export class ProgressSamples {
  readonly #kept: number
  readonly #samples: { readonly atMs: number; readonly done: number }[] = []

  /** Looks that are kept: those before are forgotten. */
  constructor(kept: number) {
    this.#kept = kept
  }

  add(atMs: number, done: number): void {
    this.#samples.push({ atMs, done })
    if (this.#samples.length > this.#kept) this.#samples.shift()
  }

  /** Null before there are two looks at different times. */
  perSecond(): number | null {
    const [first] = this.#samples
    const last = this.#samples.at(-1)
    if (!first || !last || last.atMs <= first.atMs) return null
    return Math.max(0, ((last.done - first.done) / (last.atMs - first.atMs)) * 1_000)
  }

  /** Until the total is reached at that rate; null while nothing moves. */
  etaMs({ done, total }: { readonly done: number; readonly total: number }): number | null {
    const perSecond = this.perSecond()
    if (done >= total) return 0
    return perSecond === null || perSecond === 0 ? null : ((total - done) / perSecond) * 1_000
  }
}
