import type { ItemId, Partition } from './ids.ts'
import { asPartition } from './ids.ts'
import { murmur2 } from './partition.ts'

/**
 * What users did with an item, as the engagement topology writes it into the feature store and the gateway reads it.
 *
 * Clicks over expected clicks: each time the item is shown it gains the chance that somebody looked at its place, each
 * time somebody acts on it, one. So an item that was shown far down and clicked once stands better than one that was
 * shown first and clicked once. Everything fades by half in `engagementHalfLifeMs`.
 */
export interface ItemEngagement {
  /** Expected looks: the sum of `examination` over the places at which it was shown. */
  readonly looks: number
  readonly clicks: number
  /** Saved, put into a cart or bought; once by query. */
  readonly saves: number
  /** Said to be not relevant. */
  readonly rejections: number
}

export const noEngagement: ItemEngagement = { looks: 0, clicks: 0, saves: 0, rejections: 0 }

export const engagementHalfLifeMs = 7 * 86_400_000
/**
 * Numbers are stored as they will have to be weighed against newer ones: multiplied by 2^(age of the landmark ÷ half-
 * life) at the time of the event, and divided by the same of the present when they are read (forward decay: Cormode,
 * Shkapenyuk, Srivastava, Xu, "Forward Decay: A Practical Time Decay Model for Streaming Systems", ICDE 2009). So stored
 * sums never have to be touched to fade. A double holds them from about 2021 to 2059.
 */
const landmarkMs = Date.UTC(2040, 0, 1)

/** Weight in storage of what happened at that time, ms since 1970. */
export function storedWeight(atMs: number): number {
  return 2 ** ((atMs - landmarkMs) / engagementHalfLifeMs)
}

/** Least chance that somebody looks at a place, however far down. */
const leastExamination = 0.05

/**
 * Chance that somebody looks at a place in the results, from 0, given that they look at the first: 1 ÷ rank, the
 * position-based propensity of Joachims, Swaminathan, Schnabel, "Unbiased Learning-to-Rank with Biased Feedback", WSDM
 * 2017 (with η = 1), held above a floor, since a single click far down shall not count as twenty.
 */
export function examination(position: number): number {
  return Math.max(1 / (position + 1), leastExamination)
}

/** Key of an item in the feature store. Its number changes with the meaning of the numbers behind it. */
export function engagementKey(itemId: ItemId | string): string {
  return `rates1:${itemId}`
}

/** As it is stored: a list of numbers, each of `storedWeight`. */
export function storedEngagement({ looks, clicks, saves, rejections }: ItemEngagement): readonly number[] {
  return [looks, clicks, saves, rejections]
}

/** From the sum over the parts of the key, faded to the present. Never negative. */
export function engagementOf(sums: readonly number[] | undefined, nowMs: number): ItemEngagement {
  if (sums === undefined) return noEngagement
  const present = storedWeight(nowMs)
  const [looks = 0, clicks = 0, saves = 0, rejections = 0] = sums.map(each => Math.max(0, each / present))
  return { looks, clicks, saves, rejections }
}

/** Separates a query's id from the tag of its session. */
const tagMark = '.'
const tagDigits = 4

/**
 * Id of a query of a session, given by its hash: it ends in a tag by which all queries of a session, and what is
 * reported of them, come to lie in one partition. 16 bits of the hash tell nobody who it is.
 */
export function queryIdOfSession(newId: string, sessionHash: string): string {
  return sessionHash === '' ? newId : `${newId}${tagMark}${sessionHash.slice(0, tagDigits)}`
}

/** Partition of the engagement topic in which everything about a query lies. */
export function engagementPartition(queryId: string, partitions: number): Partition {
  const mark = queryId.lastIndexOf(tagMark)
  const key = mark === -1 ? queryId : queryId.slice(mark + 1)
  return asPartition((murmur2(Buffer.from(key)) & 0x7fffffff) % partitions)
}
