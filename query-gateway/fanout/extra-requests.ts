import type { ExtraRequestOptions } from './fanout-options.ts'

/**
 * The global budget of requests beyond one per shard and query, as a bucket of tokens: each request puts a part of a
 * token in, each extra one takes a whole token out. Hedges leave a reserve, so that a replica that fails in a time of
 * slow answers is still replaced by its sibling.
 */
export class ExtraRequests {
  readonly #options: ExtraRequestOptions
  #tokens: number

  constructor(options: ExtraRequestOptions) {
    this.#options = options
    this.#tokens = options.reserve
  }

  get tokens(): number {
    return this.#tokens
  }

  /** A request was sent that is not extra. */
  earn(): void {
    this.#tokens = Math.min(this.#options.burst, this.#tokens + this.#options.ratio)
  }

  takeForHedge(): boolean {
    return this.#take(this.#options.reserve + 1)
  }

  takeForRetry(): boolean {
    return this.#take(1)
  }

  #take(atLeast: number): boolean {
    if (this.#tokens < atLeast) return false
    this.#tokens -= 1
    return true
  }
}
