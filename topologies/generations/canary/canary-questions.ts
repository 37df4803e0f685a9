import type { SearchAnswer } from '../../../schemas/http-search.ts'
import type { ItemId } from '../../../schemas/ids.ts'
import type { Box } from '../../../schemas/mutation.ts'
import type { ItemSnapshot } from '../../../schemas/shard-api.ts'
import type { CanarySide } from './canary-side.ts'
import type { EngagementQuestion } from './engagement-set.ts'
import { isAnswered, type LabelledQuestion, type LabelledSet, wantedIds } from './labelled-set.ts'
import { bestOverlap, ndcg } from './retrieval-metrics.ts'

/** A picture that an item shows. */
export interface PictureItem {
  readonly itemId: ItemId
  readonly snapshot: ItemSnapshot
  readonly digest: string
}

const k = 10
/** Items with one and the same picture; a model that has forgotten everything gives all of them nearly the same. */
const tie = 1e-5

/**
 * The middle of a picture. Measured on 273 products of the furniture set: by it both bundled models find 98% of the
 * items first, a copy whose weights were shuffled 23%; without only a small rim, that copy still finds 78%.
 */
const innerPart: Box = [0.2, 0.2, 0.8, 0.8]

export interface PictureAnswer {
  /** Null: the question could not be asked. */
  readonly found: boolean | null
  /** None is more similar, but for those that are as similar. */
  readonly isFirst: boolean | null
  readonly tookMs: number | null
}

/** Whether the item is found by its own picture, whole or without its rim; ranked as for a user, since it is timed. */
export async function askPicture(
  side: CanarySide,
  { itemId, digest }: PictureItem,
  { part, monotonicMs }: { readonly part: 'whole' | 'inner'; readonly monotonicMs: () => number },
): Promise<PictureAnswer> {
  const image = { blob: `blob:${digest}` }
  const startedMs = monotonicMs()
  const answer = await side.search({ image, k, rerank: true, ...(part === 'inner' ? { box: innerPart } : {}) })
  const tookMs = monotonicMs() - startedMs
  if (answer === null) return { found: null, isFirst: null, tookMs: null }
  const { results } = answer
  const own = results.find(result => result.itemId === itemId)?.similarity
  const best = Math.max(...results.map(({ similarity }) => similarity))
  // More items than fit may have that picture.
  const isCrowded = results.length === k && results.every(({ similarity }) => similarity >= best - tie)
  return {
    found: own !== undefined || isCrowded,
    isFirst: isCrowded || (own !== undefined && own >= best - tie),
    tookMs,
  }
}

/** Items like this one, without it; null when that could not be asked. */
export async function askLike(side: CanarySide, itemId: string, count = k): Promise<SearchAnswer['results'] | null> {
  const answer = await side.search({ image: { itemId }, excludeItemId: itemId, k: count })
  return answer?.results ?? null
}

/** Share of the items in `expected` among those like the item. */
export async function askEngagement(
  side: CanarySide,
  { itemId, expected }: EngagementQuestion,
  count: number,
): Promise<number | null> {
  const results = await askLike(side, itemId, count)
  if (results === null) return null
  return results.filter(result => expected.has(result.itemId)).length / expected.size
}

/** Of one question: whether a right answer was among the first 1, 5 and 10. */
export interface LabelledResult {
  readonly kind: LabelledQuestion['kind'] | 'detected'
  readonly at1: boolean
  readonly at5: boolean
  readonly at10: boolean
  /** Of a question by a whole picture that has grades. */
  readonly gain: number | null
}

/** Boxes that overlap less are of something else. */
const leastOverlap = 0.5

/** A question by a box is asked by the box that the detector has there, too: what it does not see is not found. */
export async function askLabelled(
  side: CanarySide,
  question: LabelledQuestion,
  set: LabelledSet,
): Promise<readonly LabelledResult[]> {
  const upload = await set.picture(question.path)
  const answer = await side.search({ upload, box: [...question.box], k })
  const asked = resultOf(question, question.kind, answer?.results ?? [])
  if (question.kind === 'picture') return [asked]
  const seen = (answer?.objects ?? []).map(({ box }) => box as Box)
  const object = bestOverlap(seen, question.box, leastOverlap)
  const found = object === null ? null : await side.search({ upload, box: [...seen[object]!], k })
  return [asked, resultOf(question, 'detected', found?.results ?? [])]
}

function resultOf(
  question: LabelledQuestion,
  kind: LabelledResult['kind'],
  results: SearchAnswer['results'],
): LabelledResult {
  const [at1, at5, at10] = [1, 5, 10].map(first => isAnswered(question, results, first)) as [boolean, boolean, boolean]
  const ranked = results.map(({ itemId }) => itemId)
  const isGraded = kind === 'picture' && wantedIds(question).size > 0
  return { kind, at1, at5, at10, gain: isGraded ? ndcg(ranked, question.grades, k) : null }
}
