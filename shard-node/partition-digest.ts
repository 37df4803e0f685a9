import { hash } from 'node:crypto'
import type { TopicEpoch } from '../schemas/ids.ts'
import type { PartitionDigest } from '../schemas/shard-api.ts'
import { type ItemState, isSearchable } from './registers.ts'

export const digestBuckets = 1024

/** Bucket sums as 32 hex digits each, by bucket: to find which items differ where two digests do. */
export interface DigestBuckets {
  readonly set: readonly string[]
  readonly objects: readonly string[]
}

/**
 * The two digests of one partition (DESIGN section 9), kept up to date item by item. An element's hash is the first
 * 16 bytes of its SHA-256 as a little-endian number; a sum is mod 2^128, so order does not matter and what is taken
 * out leaves no trace. An item's bucket depends on its id alone. Encoding of the elements: FORMAT.md, "digests".
 */
export class PartitionDigests {
  readonly #epoch: TopicEpoch
  readonly #set = new BucketSums()
  readonly #objects = new BucketSums()

  constructor(epoch: TopicEpoch) {
    this.#epoch = epoch
  }

  /** `idHash` is murmur2 of the item id as u32. Cost: about 1 µs per element that changes. */
  replace(idHash: number, before: ItemState, after: ItemState): void {
    const bucket = (idHash >>> 16) % digestBuckets
    exchange(this.#set, bucket, setElement(before, this.#epoch), setElement(after, this.#epoch))
    exchange(this.#objects, bucket, objectsElement(before), objectsElement(after))
  }

  total(): PartitionDigest {
    return { set: this.#set.total(), objects: this.#objects.total() }
  }

  buckets(): DigestBuckets {
    return { set: this.#set.list(), objects: this.#objects.list() }
  }
}

function setElement(state: ItemState, epoch: TopicEpoch): string | null {
  return state.attributes === null ? null : `s${state.itemId}\0${epoch}\0${state.attributesOffset}`
}

function objectsElement(state: ItemState): string | null {
  return isSearchable(state) ? `o${state.itemId}\0${state.objects?.imageIdentity}` : null
}

function exchange(sums: BucketSums, bucket: number, before: string | null, after: string | null): void {
  if (before === after) return
  if (before !== null) sums.subtract(bucket, before)
  if (after !== null) sums.add(bucket, after)
}

/** Numbers of 128 bits as four u32, least significant first; one per bucket and then their sum. */
class BucketSums {
  readonly #limbs = new Uint32Array((digestBuckets + 1) * 4)

  add(bucket: number, element: string): void {
    const digest = hash('sha256', element, 'buffer')
    for (const at of [bucket * 4, digestBuckets * 4]) {
      let carry = 0
      for (let limb = 0; limb < 4; limb++) {
        const sum = this.#limbs[at + limb]! + digest.readUInt32LE(limb * 4) + carry
        this.#limbs[at + limb] = sum
        carry = sum > 0xffffffff ? 1 : 0
      }
    }
  }

  subtract(bucket: number, element: string): void {
    const digest = hash('sha256', element, 'buffer')
    for (const at of [bucket * 4, digestBuckets * 4]) {
      let borrow = 0
      for (let limb = 0; limb < 4; limb++) {
        const rest = this.#limbs[at + limb]! - digest.readUInt32LE(limb * 4) - borrow
        this.#limbs[at + limb] = rest
        borrow = rest < 0 ? 1 : 0
      }
    }
  }

  total(): string {
    return this.#hex(digestBuckets)
  }

  list(): string[] {
    return Array.from({ length: digestBuckets }, (_, bucket) => this.#hex(bucket))
  }

  #hex(index: number): string {
    let text = ''
    for (let limb = 3; limb >= 0; limb--) text += this.#limbs[index * 4 + limb]!.toString(16).padStart(8, '0')
    return text
  }
}
