import {
  bucketOf,
  type DigestElement,
  digestBuckets,
  elementText,
  elementWords,
} from '../../schemas/partition-digest.ts'
import type { PartitionDigest } from '../../schemas/shard-api.ts'

/** Bucket sums as 32 hex digits each, by bucket: to find which items differ where two digests do. */
export interface DigestBuckets {
  readonly set: readonly string[]
  readonly objects: readonly string[]
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

  /** As they are now, whatever is added later. */
  copy(): PartitionDigests {
    const copied = new PartitionDigests()
    copied.set.fill(this.set)
    copied.objects.fill(this.objects)
    return copied
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

  fill(from: BucketSums): void {
    this.#words.set(from.#words)
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
    return elementText(this.#words, index * elementWords)
  }
}
