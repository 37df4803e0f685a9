import type { ItemId, TopicEpoch } from '../../schemas/ids.ts'
import { murmur2 } from '../../schemas/partition.ts'
import { bucketOf, digestBuckets, elementText, setElement } from '../../schemas/partition-digest.ts'
import type { CutTaken, ItemAtCut } from '../../schemas/shard-api.ts'

/** One partition of one generation at a cut: what the replica told unasked, and the items that were asked for. */
export interface CutSide {
  readonly taken: CutTaken
  /** Of every item that either side lists: as this side has it. */
  readonly listed: ReadonlyMap<ItemId, ItemAtCut>
}

/** How an item differs: on the `reference`, and on the `candidate` that is to be like it. */
export interface Mismatch {
  readonly itemId: ItemId
  readonly kind: 'missing' | 'unexpected' | 'version' | 'objects'
  readonly reference: ItemAtCut
  readonly candidate: ItemAtCut
}

export interface CutComparison {
  /** Buckets whose sums differ once the listed items are taken out: their items are to be compared one by one. */
  readonly differingBuckets: readonly number[]
  /** Of listed items that neither side is ahead with. */
  readonly mismatches: readonly Mismatch[]
  /** Ahead on a side: nothing is known of them at this cut. */
  readonly open: readonly ItemId[]
  /** Live without current objects, by side. */
  readonly failed: { readonly reference: readonly ItemId[]; readonly candidate: readonly ItemId[] }
}

/**
 * Compares two generations of one partition at a cut (DESIGN section 9). Items that a side lists are taken out of the
 * sums of both: those ahead of the cut out of both digests, because they are proven later; those that failed out of
 * the digest of objects, because they are held against an allowance. What is left must be equal, bucket by bucket.
 */
export function compareCuts(reference: CutSide, candidate: CutSide, epoch: TopicEpoch): CutComparison {
  const pairs = [...reference.listed.values()].map(item => [item, candidate.listed.get(item.itemId)!] as const)
  const isOpen = ([a, b]: (typeof pairs)[number]): boolean => a.ahead || b.ahead
  const settled = pairs.filter(pair => !isOpen(pair))
  const open = pairs.filter(isOpen).map(([{ itemId }]) => itemId)
  const without = new Set(open)
  return {
    differingBuckets: differing(restOf(reference, without, epoch), restOf(candidate, without, epoch)),
    mismatches: settled.flatMap(([a, b]) => mismatchOf(a, b) ?? []),
    open,
    failed: {
      reference: settled.filter(([a]) => a.failed).map(([{ itemId }]) => itemId),
      candidate: settled.filter(([, b]) => b.failed).map(([{ itemId }]) => itemId),
    },
  }
}

/** Null: the same at this cut. What failed on a side has no current objects to be compared. */
export function mismatchOf(reference: ItemAtCut, candidate: ItemAtCut): Mismatch | null {
  const { itemId } = reference
  const is = (kind: Mismatch['kind']): Mismatch => ({ itemId, kind, reference, candidate })
  if (reference.attributes !== candidate.attributes) {
    if (candidate.attributes < 0) return is('missing')
    return is(reference.attributes < 0 ? 'unexpected' : 'version')
  }
  if (reference.failed || candidate.failed || reference.objects === candidate.objects) return null
  return is('objects')
}

/**
 * Live at the same version with the same picture: the item is the same on both sides, wherever the cut lies. Of one
 * that is not live there is no version to tell by.
 */
export function isSameNow(reference: ItemAtCut, candidate: ItemAtCut): boolean {
  const { attributes, objects, failed } = reference
  if (attributes < 0 || failed || candidate.failed) return false
  return attributes === candidate.attributes && objects === candidate.objects
}

/** Items of a bucket that differ, of both sides' items of it; those of `passedOver` are not looked at. */
export function compareBucket(
  reference: readonly ItemAtCut[],
  candidate: readonly ItemAtCut[],
  passedOver: ReadonlySet<ItemId>,
): readonly Mismatch[] {
  const [ours, theirs] = [reference, candidate].map(items => new Map(items.map(item => [item.itemId, item]))) as [
    Map<ItemId, ItemAtCut>,
    Map<ItemId, ItemAtCut>,
  ]
  return [...new Set([...ours.keys(), ...theirs.keys()])]
    .filter(itemId => !passedOver.has(itemId))
    .flatMap(itemId => mismatchOf(ours.get(itemId) ?? absent(itemId), theirs.get(itemId) ?? absent(itemId)) ?? [])
}

function absent(itemId: ItemId): ItemAtCut {
  return { itemId, attributes: -1 as ItemAtCut['attributes'], objects: null, failed: false, ahead: false }
}

interface Rest {
  readonly set: readonly bigint[]
  readonly objects: readonly bigint[]
}

const modulus = 2n ** 128n

function restOf({ taken, listed }: CutSide, open: ReadonlySet<ItemId>, epoch: TopicEpoch): Rest {
  const [set, objects] = [taken.buckets.set, taken.buckets.objects].map(sums => sums.map(numberOf)) as [
    bigint[],
    bigint[],
  ]
  for (const { itemId, attributes, objects: element } of listed.values()) {
    const bucket = bucketOfItem(itemId)
    if (open.has(itemId) && attributes >= 0)
      set[bucket] = (set[bucket]! - numberOf(elementText(setElement(itemId, epoch, attributes)))) % modulus
    if (element !== null) objects[bucket] = (objects[bucket]! - numberOf(element)) % modulus
  }
  return { set, objects }
}

function differing(reference: Rest, candidate: Rest): readonly number[] {
  const isSame = (a: bigint, b: bigint): boolean => (a - b) % modulus === 0n
  return Array.from({ length: digestBuckets }, (_, bucket) => bucket).filter(
    bucket =>
      !isSame(reference.set[bucket]!, candidate.set[bucket]!) ||
      !isSame(reference.objects[bucket]!, candidate.objects[bucket]!),
  )
}

function numberOf(hex: string): bigint {
  return BigInt(`0x${hex}`)
}

const encoder = new TextEncoder()

export function bucketOfItem(itemId: ItemId): number {
  return bucketOf(murmur2(encoder.encode(itemId)) >>> 0)
}
