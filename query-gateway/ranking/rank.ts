import { type RankingPart, rankingParts, type SearchResult } from '../../schemas/http-search.ts'
import { type ItemEngagement, noEngagement } from '../../schemas/item-engagement.ts'
import type { ItemSnapshot } from '../../schemas/shard-api.ts'
import type { RankedHit } from '../shard-fanout.ts'
import type { RankingWeights, SoftPart } from './ranking-weights.ts'

/** What speaks for a candidate besides its looks. Null: nobody said, so that it speaks for none. */
export interface RankingWishes {
  readonly region: string | null
  /** Currency null: prices are compared as they are. */
  readonly price: { readonly around: number; readonly currency: string | null } | null
  readonly category: string | null
}

export interface RankingContext extends RankingWishes {
  readonly weights: RankingWeights
  /** Of items not in it nothing is known. */
  readonly engagement: ReadonlyMap<string, ItemEngagement>
}

/** A candidate with the number that the order follows. */
export interface ScoredHit extends RankedHit {
  readonly score: number
}

const rateParts = ['clickRate', 'saveRate', 'relevance'] as const
const softParts = rankingParts.filter((part): part is SoftPart => part !== 'similarity')
const itemParts = softParts.filter(part => !(rateParts as readonly SoftPart[]).includes(part))

/**
 * Similarity first: the score is the similarity plus what else speaks for the candidate, which is never less than
 * nothing and never more than the bound of the weights. So one that is more similar than another by more than the
 * bound stays above it, whatever speaks for the other. Ties by similarity, then by item id.
 */
export function rank(hits: readonly RankedHit[], context: RankingContext): readonly ScoredHit[] {
  const unknown = ratesOfUnknown(context.weights)
  return hits.map(hit => ({ ...hit, score: hit.hit.similarity + bonus(hit, context, unknown) })).sort(byScore)
}

/** What can speak for a candidate at most, whichever it is: by what nobody wished for they all get nothing. */
export function mostBonus({ weights: { bound, parts }, region, price, category }: RankingContext): number {
  const without: Partial<Record<SoftPart, boolean>> = {
    region: region === null,
    price: price === null,
    category: category === null,
  }
  return Math.min(
    bound,
    softParts.reduce((sum, part) => sum + (without[part] === true ? 0 : parts[part]), 0),
  )
}

/** What speaks for the candidate whatever its engagement is. */
export function leastBonus(hit: RankedHit, context: RankingContext): number {
  const { bound, parts } = context.weights
  return Math.min(
    bound,
    itemParts.reduce((sum, part) => sum + partValue(part, hit, context) * parts[part], 0),
  )
}

/** The order of the shards: by similarity alone. */
export function* bySimilarityAlone(hits: readonly RankedHit[]): Generator<ScoredHit> {
  for (const hit of hits) yield { ...hit, score: hit.hit.similarity }
}

/** Candidates that a bonus can bring up to the score; the others are too far behind. Hits are by similarity. */
export function contenders(
  hits: readonly RankedHit[],
  { score, bonus }: { readonly score: number; readonly bonus: number },
): readonly RankedHit[] {
  const end = hits.findIndex(({ hit }) => hit.similarity + bonus < score)
  return end === -1 ? hits : hits.slice(0, end)
}

type ExplainedRanking = NonNullable<NonNullable<SearchResult['explain']>['ranking']>

/** The parts of a candidate's score. */
export function explainRanking(hit: RankedHit, context: RankingContext): ExplainedRanking {
  const { similarity } = hit.hit
  const { parts } = context.weights
  return rankingParts.map((part: RankingPart) => {
    if (part === 'similarity') return { part, value: similarity, weight: 1, contribution: similarity }
    const value = partValue(part, hit, context)
    return { part, value, weight: parts[part], contribution: value * parts[part] }
  })
}

/** Values of the parts that say the same of every item of which nothing is known. */
type UnknownRates = ReadonlyMap<SoftPart, number>

function ratesOfUnknown(weights: RankingWeights): UnknownRates {
  return new Map(rateParts.map(part => [part, rateValue(part, noEngagement, weights)]))
}

function bonus(hit: RankedHit, context: RankingContext, unknown: UnknownRates): number {
  const { bound, parts } = context.weights
  const isKnown = context.engagement.has(hit.hit.itemId)
  let sum = 0
  for (const part of softParts) {
    const value = (isKnown ? undefined : unknown.get(part)) ?? partValue(part, hit, context)
    sum += value * parts[part]
  }
  return Math.min(sum, bound)
}

/** 0 to 1. */
function partValue(part: SoftPart, { hit }: RankedHit, context: RankingContext): number {
  const { item } = hit
  switch (part) {
    case 'availability':
      return item.available ? 1 : 0
    case 'region':
      return context.region !== null && item.regions.includes(context.region) ? 1 : 0
    case 'price':
      return priceCloseness(item, context)
    case 'category':
      return context.category !== null && item.category === context.category ? 1 : 0
    case 'clickRate':
    case 'saveRate':
    case 'relevance':
      return rateValue(part, context.engagement.get(hit.itemId) ?? noEngagement, context.weights)
  }
}

/** The smaller price ÷ the larger. */
function priceCloseness({ price, currency }: ItemSnapshot, { price: wish }: RankingWishes): number {
  if (wish === null || price === null || price <= 0) return 0
  if (wish.currency !== null && wish.currency !== currency) return 0
  return Math.min(price, wish.around) / Math.max(price, wish.around)
}

/**
 * Smoothed towards the prior, so that one click on an item nobody has seen is not a rate of one. The prior gives half
 * of the part, twice and half of it two and one thirds.
 */
function rateValue(
  part: (typeof rateParts)[number],
  { looks, clicks, saves, rejections }: ItemEngagement,
  { priors }: RankingWeights,
): number {
  const smoothed = (count: number, prior: number): number => (count + prior * priors.looks) / (looks + priors.looks)
  const share = (count: number, prior: number): number => {
    const rate = smoothed(count, prior)
    return rate / (rate + prior)
  }
  if (part === 'clickRate') return share(clicks, priors.clickRate)
  if (part === 'saveRate') return share(saves, priors.saveRate)
  return 1 - share(rejections, priors.rejectionRate)
}

function byScore(a: ScoredHit, b: ScoredHit): number {
  return b.score - a.score || b.hit.similarity - a.hit.similarity || (a.hit.itemId < b.hit.itemId ? -1 : 1)
}

/** Best candidates that are asked for the category of what was searched. */
const voters = 10

/** The category that more than half of the best candidates have; null when they do not agree. */
export function majorityCategory(hits: readonly RankedHit[]): string | null {
  const best = hits.slice(0, voters)
  const counts = new Map<string, number>()
  for (const { hit } of best) counts.set(hit.item.category, (counts.get(hit.item.category) ?? 0) + 1)
  for (const [category, count] of counts) if (category !== '' && count * 2 > best.length) return category
  return null
}
