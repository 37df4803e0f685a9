import { hash } from 'node:crypto'
import type { ItemId, TopicEpoch } from './ids.ts'

/** Sums of a partition's digests are kept by this many buckets, so that a difference names few items. */
export const digestBuckets = 1024

/** A number of 128 bits as four u32, least significant first. */
export type DigestElement = ArrayLike<number>

export const elementWords = 4

/** Of a live item, in the digest `set`. Encoding: `shard-node/FORMAT.md`, "digests". */
export function setElement(itemId: ItemId, epoch: TopicEpoch, attributesOffset: number): DigestElement {
  return elementOf(`s${itemId}\0${epoch}\0${attributesOffset}`)
}

/** Of a searchable item, in the digest `objects`. */
export function objectsElement(itemId: ItemId, imageIdentity: string): DigestElement {
  return elementOf(`o${itemId}\0${imageIdentity}`)
}

/** 32 hex digits, most significant first. */
export function elementText(element: DigestElement, at = 0): string {
  let text = ''
  for (let word = elementWords - 1; word >= 0; word--) text += element[at + word]!.toString(16).padStart(8, '0')
  return text
}

/** Of an item, by murmur2 of its id as u32. */
export function bucketOf(idHash: number): number {
  return (idHash >>> 16) % digestBuckets
}

/** As text, because that is three times as fast as a buffer. */
function elementOf(text: string): DigestElement {
  const digest = hash('sha256', text, 'binary')
  return [wordAt(digest, 0), wordAt(digest, 4), wordAt(digest, 8), wordAt(digest, 12)]
}

function wordAt(bytes: string, at: number): number {
  const low = bytes.charCodeAt(at) | (bytes.charCodeAt(at + 1) << 8)
  return (low | (bytes.charCodeAt(at + 2) << 16) | (bytes.charCodeAt(at + 3) << 24)) >>> 0
}
