import type { Meter } from '@opentelemetry/api'
import { asFreshetError, FreshetError } from '../../schemas/errors.ts'
import { engagementKey, engagementOf, type ItemEngagement } from '../../schemas/item-engagement.ts'
import type { FeatureStore } from '../../topologies/feature-store.ts'

export interface ItemRatesOptions {
  readonly features: Pick<FeatureStore, 'readSums'>
  /** Longest time a query waits for the store. */
  readonly timeoutMs: number
  readonly meter: Meter
  readonly clock: () => number
  readonly monotonicMs?: () => number
}

export interface KnownRates {
  readonly engagement: ReadonlyMap<string, ItemEngagement>
  /** The store did not answer in time: nothing is known of any item. */
  readonly isAway: boolean
}

const nothing: KnownRates = { engagement: new Map(), isAway: true }
/** A store that failed is not waited for again before so long. */
const restMs = 1_000

/**
 * Engagement of items, in one round trip by query. It never fails and never takes longer than its time: a ranking goes
 * on without, and says so.
 */
export class ItemRates {
  readonly #options: ItemRatesOptions
  readonly #reads
  #restUntilMs = Number.NEGATIVE_INFINITY

  constructor(options: ItemRatesOptions) {
    this.#options = options
    this.#reads = options.meter.createCounter('freshet.ranking.feature_reads', {
      description: 'Reads of the feature store for a ranking, by outcome: answered, failed, late, skipped.',
    })
  }

  async of(itemIds: readonly string[]): Promise<KnownRates> {
    if (itemIds.length === 0) return { engagement: new Map(), isAway: false }
    const now = this.#options.monotonicMs ?? (() => performance.now())
    if (now() < this.#restUntilMs) return this.#without('skipped')
    try {
      const sums = await this.#inTime(this.#options.features.readSums(itemIds.map(engagementKey)))
      this.#reads.add(1, { outcome: 'answered' })
      const nowMs = this.#options.clock()
      const known = itemIds.flatMap((itemId, at): [string, ItemEngagement][] => {
        const found = sums[at]
        return found === undefined ? [] : [[itemId, engagementOf(found, nowMs)]]
      })
      return { engagement: new Map(known), isAway: false }
    } catch (thrown) {
      this.#restUntilMs = now() + restMs
      return this.#without(asFreshetError(thrown).code === 'timeout' ? 'late' : 'failed')
    }
  }

  #without(outcome: string): KnownRates {
    this.#reads.add(1, { outcome })
    return nothing
  }

  async #inTime<T>(answer: Promise<T>): Promise<T> {
    const late = Promise.withResolvers<never>()
    const giveUp = (): void => late.reject(new FreshetError('timeout', 'the feature store is late'))
    // An answer that has arrived while this thread was busy is read before it is given up.
    const timer = setTimeout(() => setImmediate(giveUp), this.#options.timeoutMs)
    try {
      return await Promise.race([answer, late.promise])
    } finally {
      clearTimeout(timer)
    }
  }
}
