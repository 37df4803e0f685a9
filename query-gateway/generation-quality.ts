import type { Counter, Histogram, Meter } from '@opentelemetry/api'
import { LRUCache } from 'lru-cache'
import type { Engagement } from '../schemas/http-items.ts'
import type { GenerationQuality, QualityPoint } from '../schemas/http-operations.ts'
import type { SearchAnswer } from '../schemas/http-search.ts'
import type { Generation } from '../schemas/ids.ts'

/** Half an hour, in parts that a curve can show. */
export const slotMs = 10_000
const slots = 180
/** Answers of which it is remembered whose they were, for what is reported of them. */
const rememberedQueries = 20_000
/** Of the latency buckets: 26% from one to the next, from a quarter of a millisecond to 16 seconds. */
const firstBucketMs = 0.25
const bucketsPerDoubling = 3
const latencyBuckets = 16 * bucketsPerDoubling + 1

const secondBounds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.15, 0.25, 0.5, 1, 2.5, 5, 10]
const similarityBounds = [0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.85, 0.9, 0.95, 1]
const engaging: ReadonlySet<Engagement['action']> = new Set(['click', 'save', 'cart', 'purchase'])

interface Slot {
  readonly atMs: number
  searches: number
  failed: number
  degraded: number
  withoutResults: number
  engaged: number
  similaritySum: number
  readonly latencies: Uint32Array
}

interface Instruments {
  readonly searches: Counter
  readonly seconds: Histogram
  readonly similarity: Histogram
  readonly withoutResults: Counter
  readonly engaged: Counter
}

/**
 * How the searches of each generation went that this gateway answered, so that two which share the queries can be
 * compared: as metrics, and as curves of the last half hour.
 */
export class QualityBook {
  readonly #clock: () => number
  readonly #meters: Instruments
  readonly #slots = new Map<Generation, Slot[]>()
  readonly #shown = new LRUCache<string, Generation>({ max: rememberedQueries })

  constructor(clock: () => number, meter: Meter) {
    this.#clock = clock
    this.#meters = instruments(meter)
  }

  answered(
    generation: Generation,
    { queryId, results, degraded, timingMs }: Pick<SearchAnswer, 'queryId' | 'results' | 'degraded' | 'timingMs'>,
  ): void {
    const slot = this.#slot(generation)
    const attributes = { generation }
    slot.searches++
    slot.latencies[bucketOf(timingMs.total)]! += 1
    if (degraded.length > 0) slot.degraded++
    this.#meters.searches.add(1, { generation, outcome: 'answered' })
    this.#meters.seconds.record(timingMs.total / 1_000, attributes)
    if (results.length === 0) {
      slot.withoutResults++
      this.#meters.withoutResults.add(1, attributes)
      return
    }
    const similarity = results.reduce((best, each) => Math.max(best, each.similarity), -1)
    slot.similaritySum += similarity
    this.#meters.similarity.record(similarity, attributes)
    this.#shown.set(queryId, generation)
  }

  /** A search that had no answer, for a reason on this side. */
  failed(generation: Generation): void {
    this.#slot(generation).failed++
    this.#meters.searches.add(1, { generation, outcome: 'failed' })
  }

  /** Counts each search once, if this gateway answered it and its results were chosen from. */
  engaged(engagements: readonly Pick<Engagement, 'queryId' | 'action'>[]): void {
    for (const { queryId, action } of engagements) {
      const generation = engaging.has(action) ? this.#shown.get(queryId) : undefined
      if (generation === undefined) continue
      this.#shown.delete(queryId)
      this.#slot(generation).engaged++
      this.#meters.engaged.add(1, { generation })
    }
  }

  /** Oldest first; times without searches are left out. */
  curves(): readonly GenerationQuality[] {
    const sinceMs = this.#clock() - slots * slotMs
    return Array.from(this.#slots, ([id, all]) => ({
      id,
      points: all.filter(({ atMs }) => atMs >= sinceMs).map(pointOf),
    })).filter(({ points }) => points.length > 0)
  }

  #slot(generation: Generation): Slot {
    const atMs = Math.floor(this.#clock() / slotMs) * slotMs
    const known = this.#slots.get(generation) ?? []
    const last = known.at(-1)
    if (last !== undefined && last.atMs >= atMs) return last
    const slot: Slot = {
      atMs,
      searches: 0,
      failed: 0,
      degraded: 0,
      withoutResults: 0,
      engaged: 0,
      similaritySum: 0,
      latencies: new Uint32Array(latencyBuckets),
    }
    this.#slots.set(generation, [...known.slice(1 - slots), slot])
    this.#dropOld(atMs)
    return slot
  }

  #dropOld(nowMs: number): void {
    for (const [generation, all] of this.#slots)
      if (all.at(-1)!.atMs < nowMs - slots * slotMs) this.#slots.delete(generation)
  }
}

function pointOf(slot: Slot): QualityPoint {
  const { atMs, searches, failed, degraded, withoutResults, engaged } = slot
  const withResults = searches - withoutResults
  return {
    atMs,
    searches,
    failed,
    degraded,
    withoutResults,
    engaged,
    similarity: withResults === 0 ? null : slot.similaritySum / withResults,
    p50Ms: quantile(slot, 0.5),
    p95Ms: quantile(slot, 0.95),
  }
}

function bucketOf(ms: number): number {
  const bucket = Math.ceil(Math.log2(Math.max(ms, firstBucketMs) / firstBucketMs) * bucketsPerDoubling)
  return Math.min(bucket, latencyBuckets - 1)
}

/** The upper end of the bucket that it lies in, ms; null without searches. */
function quantile({ searches, latencies }: Slot, share: number): number | null {
  if (searches === 0) return null
  let reached = 0
  const bucket = latencies.findIndex(count => {
    reached += count
    return reached >= share * searches
  })
  return firstBucketMs * 2 ** (bucket / bucketsPerDoubling)
}

function instruments(meter: Meter): Instruments {
  const ofSearches = 'by the generation that answered'
  return {
    searches: meter.createCounter('freshet.generation.searches', {
      description: `Searches ${ofSearches}, and whether it did: answered, failed`,
    }),
    seconds: meter.createHistogram('freshet.generation.search.duration', {
      description: `Time of searches, their waiting left out, ${ofSearches}`,
      unit: 's',
      advice: { explicitBucketBoundaries: secondBounds },
    }),
    similarity: meter.createHistogram('freshet.generation.top_similarity', {
      description: `Similarity of the most similar result, ${ofSearches}. Models differ in it: compare changes`,
      advice: { explicitBucketBoundaries: similarityBounds },
    }),
    withoutResults: meter.createCounter('freshet.generation.searches_without_results', {
      description: `Searches without results, ${ofSearches}`,
    }),
    engaged: meter.createCounter('freshet.generation.searches_engaged', {
      description: `Searches whose results were chosen from, as reported to the gateway that answered, ${ofSearches}`,
    }),
  }
}
