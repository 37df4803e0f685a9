import { type Acceptance, acceptVector } from '../schemas/accept-mutation.ts'
import { FreshetError } from '../schemas/errors.ts'
import type { Partition } from '../schemas/ids.ts'
import type { ShardHit, ShardSearchRequest } from '../schemas/shard-api.ts'
import type { SavedWatermark } from './index-age.ts'
import { type Hits, hitsOf } from './items/item-answers.ts'
import { LatencyWindow } from './latency-window.ts'
import type { SegmentedIndex } from './segments/segmented-index.ts'
import type { ShardMeter } from './shard-meter.ts'
import type { ShardState } from './shard-state.ts'
import type { IndexPlan, IndexQuery } from './vector-index.ts'

export interface ShardSearchesOptions {
  readonly acceptance: Acceptance
  readonly index: SegmentedIndex
  readonly state: ShardState
  readonly meter: ShardMeter
}

export interface FoundItems {
  readonly hits: readonly ShardHit[]
  readonly plan: IndexPlan
  /** What the answer is computed at. */
  readonly watermarks: ReadonlyMap<Partition, SavedWatermark>
}

interface JoinedAnswer extends FoundItems, Hits {
  /** No further item could come out with a larger k. */
  readonly isComplete: boolean
}

interface Asked {
  readonly request: ShardSearchRequest
  readonly query: IndexQuery
  readonly signal: AbortSignal | undefined
}

/** Searches of the index, joined with what is known of the items. */
export class ShardSearches {
  readonly latency = new LatencyWindow()
  readonly #options: ShardSearchesOptions

  constructor(options: ShardSearchesOptions) {
    this.#options = options
  }

  /** @throws FreshetError `fingerprint-mismatch` | `vector-*` | `timeout` (the signal fired first) */
  async search(request: ShardSearchRequest, signal: AbortSignal | undefined): Promise<FoundItems> {
    const [found] = await this.searchBatch([request], signal)
    return found!
  }

  /** As many answers, in order, as of one moment. @throws as `search`; all or none are answered */
  async searchBatch(
    requests: readonly ShardSearchRequest[],
    signal: AbortSignal | undefined,
  ): Promise<readonly FoundItems[]> {
    for (const request of requests) this.#requireFit(request)
    const startedAt = performance.now()
    try {
      const found = await this.#search(requests, signal)
      const tookMs = performance.now() - startedAt
      for (const { plan } of found) {
        this.latency.add(tookMs)
        this.#options.meter.searched(tookMs, plan.kind)
      }
      return found
    } catch (thrown) {
      if (!signal?.aborted || thrown !== signal.reason) throw thrown
      throw new FreshetError('timeout', 'the search was given up', { cause: thrown })
    }
  }

  #requireFit({ fingerprint, vector }: ShardSearchRequest): void {
    const { acceptance } = this.#options
    if (fingerprint !== acceptance.fingerprint)
      throw new FreshetError('fingerprint-mismatch', 'the query vector is of another model than this generation')
    const refusal = acceptVector(vector, acceptance.dims)
    if (refusal !== null) throw new FreshetError(refusal.code, refusal.message)
  }

  async #queryOf({ vector, k, exact = false, filter, excludeItem }: ShardSearchRequest): Promise<IndexQuery> {
    const { items } = this.#options.state
    const live = filter === undefined ? null : await items.allowed(filter)
    const allowed = live && { bits: live.bits, count: live.count }
    const exclude = excludeItem === undefined ? -1 : (items.find(excludeItem)?.item ?? -1)
    return { vector, k, exact, allowed, exclude }
  }

  async #search(
    requests: readonly ShardSearchRequest[],
    signal: AbortSignal | undefined,
  ): Promise<readonly FoundItems[]> {
    const queries = await Promise.all(requests.map(request => this.#queryOf(request)))
    const answers = await this.#ask(requests, queries, signal)
    return Promise.all(
      answers.map((answer, at) => this.#untilEnough(answer, { request: requests[at]!, query: queries[at]!, signal })),
    )
  }

  /**
   * Asks again, for more, while fewer than k are left of the index's answer: others may take the places of those that
   * were dropped. Also when k are left, while one of the dropped is there again, by a set that the search could not see:
   * it may be better than what is left.
   */
  async #untilEnough(first: JoinedAnswer, { request, query, signal }: Asked): Promise<FoundItems> {
    const { k } = request
    let answer = first
    while (answer.returned > 0 || (answer.hits.length < k && answer.dropped > 0 && !answer.isComplete))
      [answer] = (await this.#ask([request], [{ ...query, k: k + 2 * answer.dropped }], signal)) as [JoinedAnswer]
    const { hits, plan, watermarks } = answer
    return { hits: hits.slice(0, k), plan, watermarks }
  }

  async #ask(
    requests: readonly ShardSearchRequest[],
    queries: readonly IndexQuery[],
    signal: AbortSignal | undefined,
  ): Promise<readonly JoinedAnswer[]> {
    const { index, state } = this.#options
    const { items } = state
    for (let pending = index.renumbering; pending !== null; pending = index.renumbering) await pending
    // Watermarks, view and the search itself are of one moment: nothing is awaited in between.
    const watermarks = new Map(state.watermarks)
    const view = items.view()
    try {
      const answers = await index.searchBatch(queries, signal)
      return answers.map(({ hits, plan, complete }, at) => {
        const { filter } = requests[at]!
        return { ...hitsOf(hits, { items, view, filter }), plan, watermarks, isComplete: complete }
      })
    } finally {
      view.end()
    }
  }
}
