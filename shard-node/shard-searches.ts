import { type Acceptance, acceptVector } from '../schemas/accept-mutation.ts'
import { FreshetError } from '../schemas/errors.ts'
import type { Partition } from '../schemas/ids.ts'
import type { ShardHit, ShardSearchRequest, ShardSearchResult } from '../schemas/shard-api.ts'
import type { SavedWatermark } from './checkpoint-manifest.ts'
import { hitsOf } from './item-answers.ts'
import { LatencyWindow } from './latency-window.ts'
import type { Searcher } from './searcher.ts'
import type { ShardState } from './shard-state.ts'

export interface ShardSearchesOptions {
  readonly acceptance: Acceptance
  readonly searcher: Searcher
  readonly state: ShardState
  /** Sends everything applied to the search thread, so that the search that follows is of it. */
  readonly beforeSearch: () => void
}

export interface FoundItems {
  readonly hits: readonly ShardHit[]
  readonly plan: ShardSearchResult['plan']
  /** What the answer is computed at. */
  readonly watermarks: ReadonlyMap<Partition, SavedWatermark>
}

/** Runs searches on the search thread and joins their answers with the item table. */
export class ShardSearches {
  readonly latency = new LatencyWindow()
  readonly #options: ShardSearchesOptions

  constructor(options: ShardSearchesOptions) {
    this.#options = options
  }

  /** @throws FreshetError `fingerprint-mismatch` | `vector-*` | `timeout` (the signal fired first) */
  async search(request: ShardSearchRequest, signal: AbortSignal | undefined): Promise<FoundItems> {
    const { acceptance } = this.#options
    if (request.fingerprint !== acceptance.fingerprint)
      throw new FreshetError('fingerprint-mismatch', 'the query vector is of another model than this generation')
    const refusal = acceptVector(request.vector, acceptance.dims)
    if (refusal !== null) throw new FreshetError(refusal.code, refusal.message)
    const startedAt = performance.now()
    const found = await beforeAbort(this.#search(request, signal), signal)
    this.latency.add(performance.now() - startedAt)
    return found
  }

  /** Asks again, for more, while items removed in the meantime leave fewer than k. */
  async #search(request: ShardSearchRequest, signal: AbortSignal | undefined): Promise<FoundItems> {
    const { state, searcher, beforeSearch } = this.#options
    const allowed = request.filter === undefined ? null : state.allowed.of(request.filter)
    const exclude = request.excludeItem === undefined ? undefined : state.table.find(request.excludeItem)
    // A view of a larger buffer would take all of it to the thread.
    const vector = request.vector.slice()
    for (let k = request.k; ; ) {
      beforeSearch()
      const watermarks = new Map(state.watermarks)
      const query = {
        vector,
        k,
        exact: request.exact ?? false,
        allowed: allowed && { bits: allowed.bits, count: allowed.count },
        exclude: exclude?.ordinal ?? -1,
      }
      const { hits, dropped, plan, complete } = await searcher.ask('search', query, answer => ({
        ...answer,
        ...hitsOf(answer, state.table, allowed?.matches ?? null),
      }))
      signal?.throwIfAborted()
      if (hits.length >= request.k || complete || dropped === 0)
        return { hits: hits.slice(0, request.k), plan, watermarks }
      k = request.k + 2 * dropped
    }
  }
}

/** Rejects with `timeout` when the signal fires first. */
function beforeAbort<T>(result: Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  if (signal === undefined) return result
  return new Promise((resolve, reject) => {
    const abort = (): void => reject(new FreshetError('timeout', 'the search was given up', { cause: signal.reason }))
    if (signal.aborted) abort()
    signal.addEventListener('abort', abort, { once: true })
    result.then(resolve, reject).finally(() => signal.removeEventListener('abort', abort))
  })
}
