import type { ItemId, Offset, Partition, TopicEpoch } from '../../schemas/ids.ts'
import type { CutReplica, CutTaken, ItemAtCut } from '../../schemas/shard-api.ts'
import { type CutSide, compareBucket, compareCuts, isSameNow, type Mismatch, mismatchOf } from './cut-comparison.ts'

/** The generation that is to be matched and the one that is to match it: a replica of each that owns the partition. */
export interface ProofSides {
  readonly reference: CutReplica
  readonly candidate: CutReplica
}

export interface ProofOptions {
  readonly partition: Partition
  readonly epoch: TopicEpoch
  /**
   * How far both sides are now; waits a little, so that asking again and again is no load. Asked until a side that
   * lags has come: throws when that is to end.
   */
  readonly progress: () => Promise<CatalogProgress>
  /** Cuts at most; items that are ahead at each of them are told as unproven. */
  readonly maxCuts: number
}

export interface CatalogProgress {
  /** Catalog offset that the watermarks of both sides have reached, inclusive. */
  readonly reached: Offset
  /** End of the catalog partition, exclusive, asked for after that. */
  readonly end: Offset
}

/** What was found out about one partition. It holds when there are no mismatches, nothing unproven, and failures are allowed. */
export interface PartitionProof {
  readonly partition: Partition
  /** Offsets of the cuts, in order. */
  readonly cuts: readonly Offset[]
  /** Live items of each side at the first cut. */
  readonly live: { readonly reference: number; readonly candidate: number }
  readonly mismatches: readonly Mismatch[]
  /** More buckets differed than were looked into: there are more mismatches than those told. */
  readonly isTruncated: boolean
  /** Ahead at every cut, and never seen the same. */
  readonly unproven: readonly ItemId[]
  /** Live without current objects. */
  readonly failed: { readonly reference: readonly ItemId[]; readonly candidate: readonly ItemId[] }
}

/** Buckets whose items are fetched; of a shard that lacks everything it would be all of them. */
const bucketsLookedInto = 64
const itemsPerCall = 5_000

/**
 * Proves that two generations hold the same live items at the same versions, and the same pictures, while events go
 * on: everything that rests at the first cut by digests, what is ahead of it at later cuts, item by item. DESIGN
 * section 9. @throws FreshetError what the replicas throw: nothing is proven then
 */
export async function provePartition(sides: ProofSides, options: ProofOptions): Promise<PartitionProof> {
  const { partition } = options
  const first = await nextCut(options)
  const whole = await atCut(sides, partition, first, (a, b) => compareWhole(sides, [a, b], options))
  const cuts = [first]
  const mismatches = [...whole.mismatches]
  const failed = { reference: new Set(whole.failed.reference), candidate: new Set(whole.failed.candidate) }
  let open = whole.open
  while (open.length > 0 && cuts.length < options.maxCuts) {
    const offset = await nextCut(options)
    cuts.push(offset)
    const still: ItemId[] = []
    for (const [a, b] of await pairsAt(sides, { partition, offset, itemIds: open })) {
      if (!isSameNow(a, b) && (a.ahead || b.ahead)) still.push(a.itemId)
      else mismatches.push(...listOf(mismatchOf(a, b)))
      if (a.failed && !a.ahead) failed.reference.add(a.itemId)
      if (b.failed && !b.ahead) failed.candidate.add(b.itemId)
    }
    open = still
  }
  return {
    partition,
    cuts,
    live: whole.live,
    mismatches,
    isTruncated: whole.isTruncated,
    unproven: open,
    failed: { reference: [...failed.reference], candidate: [...failed.candidate] },
  }
}

/**
 * An offset that both sides have reached, once both have also applied all that was in the log at that moment. Without
 * the latter a side that reads a log that is being compacted may lack an item at the cut, because the only event of
 * it that is left lies above: then it has to be ahead with it.
 */
async function nextCut({ progress }: ProofOptions): Promise<Offset> {
  const { reached, end } = await progress()
  while ((await progress()).reached < end - 1);
  return reached
}

type Pair = readonly [reference: ItemAtCut, candidate: ItemAtCut]

async function compareWhole(
  sides: ProofSides,
  [a, b]: readonly [CutTaken, CutTaken],
  { epoch }: ProofOptions,
): Promise<Omit<PartitionProof, 'partition' | 'cuts' | 'unproven'> & { readonly open: readonly ItemId[] }> {
  const [reference, candidate] = await Promise.all([
    sideOf(sides.reference, a, b.listed),
    sideOf(sides.candidate, b, a.listed),
  ])
  const { differingBuckets, mismatches, open, failed } = compareCuts(reference, candidate, epoch)
  const passedOver = new Set(reference.listed.keys())
  const found: Mismatch[] = []
  for (const bucket of differingBuckets.slice(0, bucketsLookedInto)) {
    const [ours, theirs] = await Promise.all([
      sides.reference.cutBucket(a.cut, bucket),
      sides.candidate.cutBucket(b.cut, bucket),
    ])
    found.push(...compareBucket(ours, theirs, passedOver))
  }
  return {
    live: { reference: a.live, candidate: b.live },
    mismatches: [...mismatches, ...found],
    isTruncated: differingBuckets.length > bucketsLookedInto,
    open,
    failed,
  }
}

/** What one side lists, and what it says of the items that the other lists. */
async function sideOf(replica: CutReplica, taken: CutTaken, others: readonly ItemAtCut[]): Promise<CutSide> {
  const listed = new Map(taken.listed.map(item => [item.itemId, item]))
  const asked = others.map(({ itemId }) => itemId).filter(itemId => !listed.has(itemId))
  for (const item of await itemsOf(replica, taken.cut, asked)) listed.set(item.itemId, item)
  return { taken, listed }
}

async function pairsAt(
  sides: ProofSides,
  { partition, offset, itemIds }: { partition: Partition; offset: Offset; itemIds: readonly ItemId[] },
): Promise<readonly Pair[]> {
  return atCut(sides, partition, offset, async (a, b) => {
    const [reference, candidate] = await Promise.all([
      itemsOf(sides.reference, a.cut, itemIds),
      itemsOf(sides.candidate, b.cut, itemIds),
    ])
    return reference.map((item, i): Pair => [item, candidate[i]!])
  })
}

async function itemsOf(replica: CutReplica, cut: string, itemIds: readonly ItemId[]): Promise<readonly ItemAtCut[]> {
  const found: ItemAtCut[] = []
  for (let from = 0; from < itemIds.length; from += itemsPerCall)
    found.push(...(await replica.cutItems(cut, itemIds.slice(from, from + itemsPerCall))))
  return found
}

/** Takes a cut on both sides and ends it, whatever comes. */
async function atCut<T>(
  { reference, candidate }: ProofSides,
  partition: Partition,
  offset: Offset,
  use: (reference: CutTaken, candidate: CutTaken) => Promise<T>,
): Promise<T> {
  const a = await reference.beginCut(partition, offset)
  try {
    const b = await candidate.beginCut(partition, offset)
    try {
      return await use(a, b)
    } finally {
      await candidate.endCut(b.cut)
    }
  } finally {
    await reference.endCut(a.cut)
  }
}

function listOf<T>(value: T | null): readonly T[] {
  return value === null ? [] : [value]
}
