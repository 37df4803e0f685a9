import type { Facets, SearchAnswer, SearchQuery, SearchResult } from '../../schemas/http-search.ts'
import type { ItemSnapshot } from '../../schemas/shard-api.ts'
import { searchResult } from '../item-view.ts'
import type { RoutedGeneration } from '../ports.ts'
import type { RankedHit } from '../shard-fanout.ts'
import { facetsOf } from './facets.ts'
import type { ItemRates } from './item-rates.ts'
import { collapse, type ShownHit } from './near-identical.ts'
import {
  bySimilarityAlone,
  contenders,
  explainRanking,
  majorityCategory,
  type RankingContext,
  type RankingWishes,
  rank,
  type ScoredHit,
} from './rank.ts'
import type { WeightsBook } from './ranking-weights.ts'

/** The item that was searched by, where it was one. */
export type QueryItem = Pick<ItemSnapshot, 'category' | 'price' | 'currency'>

export interface RankingRequest {
  readonly generation: RoutedGeneration
  readonly wish: Pick<SearchQuery, 'rerank' | 'collapse' | 'facets' | 'prefer' | 'explain'>
  readonly k: number
  readonly like: QueryItem | null
}

export interface RankedAnswer {
  readonly results: readonly SearchResult[]
  readonly rankedBy?: SearchAnswer['rankedBy']
  readonly facets?: Facets
  readonly degraded: readonly 'features-unavailable'[]
}

/** From the candidates of all shards to the results of an answer. */
export class CandidateRanking {
  readonly #weights: WeightsBook
  readonly #rates: ItemRates

  constructor(weights: WeightsBook, rates: ItemRates) {
    this.#weights = weights
    this.#rates = rates
  }

  /** Whether more than k hits are needed. */
  static needsCandidates({ rerank, collapse, facets }: RankingRequest['wish']): boolean {
    return rerank !== false || collapse === true || facets === true
  }

  /** Hits are by similarity. Waits for the feature store, but not long. @throws FreshetError `config-invalid` */
  async order(hits: readonly RankedHit[], request: RankingRequest): Promise<RankedAnswer> {
    const { generation, wish, k } = request
    const weights = this.#weights.of(generation)
    const facets = wish.facets === true ? { facets: facetsOf(hits.map(({ hit }) => hit.item)) } : {}
    const isCollapsed = wish.collapse ?? wish.rerank !== false
    const shownOf = (scored: Iterable<ScoredHit>, isCounted: boolean): readonly ShownHit[] =>
      isCollapsed ? collapse(scored, { k, isCounted, ...weights.alike }) : firstOf(scored, k)
    const unranked = shownOf(bySimilarityAlone(hits), wish.rerank === false)
    if (wish.rerank === false) return { results: resultsOf(unranked, wish, null), ...facets, degraded: [] }
    const lowest = unranked.at(k - 1)?.shown.hit.similarity ?? Number.NEGATIVE_INFINITY
    const rates = await this.#rates.of(idsOf(contenders(hits, { similarity: lowest, bound: weights.bound })))
    const context = { ...wishesOf(hits, request), weights, engagement: rates.engagement }
    // Neither shown nor like one that is shown can be what is further behind: most hits are never looked into.
    const near = contenders(hits, { similarity: lowest, bound: weights.bound + weights.alike.similarity })
    const ofNear = shownOf(rank(near, context), true)
    const isExact = near.length === hits.length || (ofNear.at(k - 1)?.shown.score ?? Number.NEGATIVE_INFINITY) >= lowest
    const shown = isExact ? ofNear : shownOf(rank(hits, context), true)
    const { weights: version, digest, bound } = weights
    return {
      results: resultsOf(shown, wish, context),
      rankedBy: { weights: version, digest, bound },
      ...facets,
      degraded: rates.isAway ? ['features-unavailable'] : [],
    }
  }
}

const idsOf = (hits: readonly RankedHit[]): readonly string[] => hits.map(({ hit }) => hit.itemId)

function firstOf(scored: Iterable<ScoredHit>, k: number): readonly ShownHit[] {
  const first: ShownHit[] = []
  for (const shown of scored) if (first.push({ shown }) >= k) break
  return first
}

function wishesOf(hits: readonly RankedHit[], { wish: { prefer }, like }: RankingRequest): RankingWishes {
  const category = prefer?.category ?? like?.category
  return {
    region: prefer?.region ?? null,
    price: priceWish(prefer?.priceAround, like),
    category: category === undefined || category === '' ? majorityCategory(hits) : category,
  }
}

function priceWish(around: number | undefined, like: QueryItem | null): RankingWishes['price'] {
  if (around !== undefined) return { around, currency: null }
  if (like === null || like.price === null || like.price <= 0) return null
  return { around: like.price, currency: like.currency }
}

function resultsOf(
  shown: readonly ShownHit[],
  { explain }: RankingRequest['wish'],
  context: RankingContext | null,
): readonly SearchResult[] {
  return shown.map(({ shown: hit, alike }) => {
    const ranking = explain === true && context !== null ? explainRanking(hit, context) : null
    return searchResult(hit, { score: hit.score, explained: explain === true, ranking, alike })
  })
}
