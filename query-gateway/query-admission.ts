import pLimit, { type LimitFunction } from 'p-limit'
import { FreshetError } from '../schemas/errors.ts'

/** Bounds the queries at work and those waiting; what is beyond is refused at once, so that a retry elsewhere is quick. */
export class QueryAdmission {
  readonly #limit: LimitFunction
  readonly #capacity: number

  constructor(bounds: { readonly maxConcurrentQueries: number; readonly maxQueuedQueries: number }) {
    this.#limit = pLimit(bounds.maxConcurrentQueries)
    this.#capacity = bounds.maxConcurrentQueries + bounds.maxQueuedQueries
  }

  /** @throws FreshetError `overloaded` | what the query threw */
  run<T>(query: () => Promise<T>): Promise<T> {
    const held = this.#limit.activeCount + this.#limit.pendingCount
    if (held >= this.#capacity) throw new FreshetError('overloaded', `${held} queries are at work or waiting`)
    return this.#limit(query)
  }

  get waiting(): number {
    return this.#limit.pendingCount
  }
}
