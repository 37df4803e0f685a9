import { hash } from 'node:crypto'
import type { ItemId, TopicEpoch } from '../../schemas/ids.ts'
import type { PartitionDigest } from '../../schemas/shard-api.ts'

export const digestBuckets = 1024

/** Bucket sums as 32 hex digits each, by bucket: to find which items differ where two digests do. */
export interface DigestBuckets {
  readonly set: readonly string[]
  readonly objects: readonly string[]
}

/** A number of 128 bits as four u32, least significant first. */
export type DigestElement = ArrayLike<number>

export const elementWords = 4

/** Of a live item, in the digest `set`. Encoding: FORMAT.md, "digests". */
export function setElement(itemId: ItemId, epoch: TopicEpoch, attributesOffset: number): DigestElement {
  return elementOf(`s${itemId}\0${epoch}\0${attributesOffset}`)
}

/** Of a searchable item, in the digest `objects`. */
export function objectsElement(itemId: ItemId, imageIdentity: string): DigestElement {
  return elementOf(`o${itemId}\0${imageIdentity}`)
}

/**
 * The two digests of one partition (DESIGN section 9), kept up to date item by item. An element's hash is the first
 * 16 bytes of its SHA-256 as a little-endian number; a sum is mod 2^128, so order does not matter and what is taken
 * out leaves no trace. An item's bucket depends on its id alone.
 */
export class PartitionDigests {
  readonly set = new BucketSums()
  readonly objects = new BucketSums()

  total(): PartitionDigest {
    return { set: this.set.total(), objects: this.objects.total() }
  }

  buckets(): DigestBuckets {
    return { set: this.set.list(), objects: this.objects.list() }
  }
}

/** One sum per bucket and then that of all. `idHash` is murmur2 of the item id as u32. */
export class BucketSums {
  readonly #words = new Uint32Array((digestBuckets + 1) * elementWords)

  add(idHash: number, element: DigestElement): void {
    this.#addAt(bucketOf(idHash), element)
    this.#addAt(digestBuckets, element)
  }

  subtract(idHash: number, element: DigestElement): void {
    this.#subtractAt(bucketOf(idHash), element)
    this.#subtractAt(digestBuckets, element)
  }

  total(): string {
    return this.#hex(digestBuckets)
  }

  list(): string[] {
    return Array.from({ length: digestBuckets }, (_, bucket) => this.#hex(bucket))
  }

  #addAt(index: number, element: DigestElement): void {
    let carry = 0
    for (let word = 0; word < elementWords; word++) {
      const sum = this.#words[index * elementWords + word]! + element[word]! + carry
      this.#words[index * elementWords + word] = sum
      carry = sum > 0xffffffff ? 1 : 0
    }
  }

  #subtractAt(index: number, element: DigestElement): void {
    let borrow = 0
    for (let word = 0; word < elementWords; word++) {
      const rest = this.#words[index * elementWords + word]! - element[word]! - borrow
      this.#words[index * elementWords + word] = rest
      borrow = rest < 0 ? 1 : 0
    }
  }

  #hex(index: number): string {
    let text = ''
    for (let word = elementWords - 1; word >= 0; word--)
      text += this.#words[index * elementWords + word]!.toString(16).padStart(8, '0')
    return text
  }
}

function bucketOf(idHash: number): number {
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
