import type { Facets, SearchAnswer, SearchQuery, SearchResult } from '../../schemas/http-search.ts'
import type { ItemEngagement } from '../../schemas/item-engagement.ts'
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
  leastBonus,
  majorityCategory,
  mostBonus,
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
    const shownOf: ShownOf = (scored, isCounted) =>
      isCollapsed ? collapse(scored, { k, isCounted, ...weights.alike }) : firstOf(scored, k)
    const unranked = shownOf(bySimilarityAlone(hits), wish.rerank === false)
    if (wish.rerank === false) return { results: resultsOf(unranked, wish, null), ...facets, degraded: [] }
    const known = { ...wishesOf(hits, request), weights, engagement: new Map<string, ItemEngagement>() }
    const lowest = lowestScore(unranked, { k, context: known })
    const { shown, context, isAway } = await this.#ranked(hits, { k, known, lowest, shownOf })
    const { weights: version, digest, bound } = weights
    return {
      results: resultsOf(shown, wish, context),
      rankedBy: { weights: version, digest, bound },
      ...facets,
      degraded: isAway ? ['features-unavailable'] : [],
    }
  }

  /**
   * Looks only into those that can come to be shown with at least the lowest score, or be like one that is; into more
   * of them where several of the nearest turn out to be like one, so that fewer than k have that score. The feature
   * store is asked again only then.
   */
  async #ranked(
    hits: readonly RankedHit[],
    { k, known, lowest, shownOf }: RankingStart,
  ): Promise<{ readonly shown: readonly ShownHit[]; readonly context: RankingContext; readonly isAway: boolean }> {
    const bonus = mostBonus(known) + known.weights.alike.similarity
    const engagement = new Map<string, ItemEngagement>()
    const context = { ...known, engagement }
    let isAway = false
    for (let score = lowest, looked = 0; ; ) {
      const near = contenders(hits, { score, bonus })
      const rates = await this.#rates.of(idsOf(near.slice(looked)))
      for (const [itemId, each] of rates.engagement) engagement.set(itemId, each)
      isAway ||= rates.isAway
      const shown = shownOf(rank(near, context), true)
      const kth = shown.at(k - 1)?.shown.score ?? Number.NEGATIVE_INFINITY
      if (near.length === hits.length || kth >= score) return { shown, context, isAway }
      score = kth
      looked = near.length
    }
  }
}

type ShownOf = (scored: Iterable<ScoredHit>, isCounted: boolean) => readonly ShownHit[]

interface RankingStart {
  readonly k: number
  /** But for the engagement. */
  readonly known: RankingContext
  readonly lowest: number
  readonly shownOf: ShownOf
}

const idsOf = (hits: readonly RankedHit[]): readonly string[] => hits.map(({ hit }) => hit.itemId)

function firstOf(scored: Iterable<ScoredHit>, k: number): readonly ShownHit[] {
  const first: ShownHit[] = []
  for (const shown of scored) if (first.push({ shown }) >= k) break
  return first
}

/** The k best by similarity have at least this score, each of them. */
function lowestScore(
  unranked: readonly ShownHit[],
  { k, context }: { readonly k: number; readonly context: RankingContext },
): number {
  if (unranked.length < k) return Number.NEGATIVE_INFINITY
  return Math.min(...unranked.map(({ shown }) => shown.hit.similarity + leastBonus(shown, context)))
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
