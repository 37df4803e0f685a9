import { FreshetError } from '../../schemas/errors.ts'
import type { ItemId, Offset, Partition } from '../../schemas/ids.ts'
import { asOffset } from '../../schemas/ids.ts'
import { bucketOf, elementText } from '../../schemas/partition-digest.ts'
import type { ItemAtCut } from '../../schemas/shard-api.ts'
import type { ItemTable } from './item-table.ts'
import type { PartitionDigests } from './partition-digest.ts'
import { hasAttributes, hasObjects, type Registers } from './registers.ts'

/** Items that a cut lists, and changes that it outlives: beyond these it is too far behind to be of use. */
export const cutLimits = { listed: 200_000, changed: 200_000 } as const

interface CutOptions {
  readonly partition: Partition
  /** Catalog offset, inclusive; the replica has applied everything up to it. */
  readonly offset: Offset
}

/**
 * Cuts through partitions at an offset: the digests as of the moment of the cut and, for as long as it is open, every
 * item as it was then. What changes after is noted down the first time, so that a cut costs nothing for what rests.
 * Of an item that was ahead of the offset at that moment nothing is claimed but that.
 */
export class DigestCuts {
  readonly #table: ItemTable
  readonly #open = new Set<DigestCut>()

  constructor(table: ItemTable) {
    this.#table = table
  }

  /** Blocks for some ms per million items. @throws FreshetError `bad-request` when too many items are ahead of the offset */
  begin(options: CutOptions, digests: PartitionDigests): DigestCut {
    const cut = new DigestCut(this.#table, options, digests.copy())
    this.#open.add(cut)
    return cut
  }

  end(cut: DigestCut): void {
    this.#open.delete(cut)
  }

  /** Before a change of the item. */
  note(item: number): void {
    for (const cut of this.#open) cut.note(item)
  }
}

export class DigestCut {
  readonly partition: Partition
  readonly offset: Offset
  /** As of the moment of the cut. */
  readonly digests: PartitionDigests
  /** Items ahead of the offset, and live ones whose newest image work failed. */
  readonly listed: readonly ItemAtCut[]
  /** Live items at the moment of the cut. */
  readonly live: number
  readonly #table: ItemTable
  /** Items that have changed since, as they were. */
  readonly #before = new Map<ItemId, ItemAtCut>()

  constructor(table: ItemTable, { partition, offset }: CutOptions, digests: PartitionDigests) {
    this.#table = table
    this.partition = partition
    this.offset = offset
    this.digests = digests
    const { listed, live } = this.#list()
    this.listed = listed
    this.live = live
  }

  /** Items as they were, in the order asked for. Those never heard of are not live. @throws FreshetError `not-ready` as `bucket` */
  items(itemIds: readonly ItemId[]): readonly ItemAtCut[] {
    this.#requireWhole()
    return itemIds.map(itemId => this.#before.get(itemId) ?? this.#now(itemId))
  }

  /** Live items of a bucket as they were. @throws FreshetError `not-ready` when more has changed since than is noted */
  bucket(bucket: number): readonly ItemAtCut[] {
    this.#requireWhole()
    const found = [...this.#before.values()].filter(({ itemId }) => this.#bucketOf(itemId) === bucket)
    for (const item of this.#items()) {
      if (bucketOf(this.#table.columns.idHash[item]!) !== bucket) continue
      if (!this.#before.has(this.#table.idOf(item))) found.push(this.#state(item))
    }
    return found.filter(({ attributes }) => attributes >= 0)
  }

  note(item: number): void {
    if (this.#table.columns.partition[item] !== this.partition || this.#before.size > cutLimits.changed) return
    const itemId = this.#table.idOf(item)
    if (!this.#before.has(itemId)) this.#before.set(itemId, this.#state(item))
  }

  #requireWhole(): void {
    if (this.#before.size > cutLimits.changed)
      throw new FreshetError('not-ready', `more than ${cutLimits.changed} items changed since the cut: take another`)
  }

  #list(): { readonly listed: readonly ItemAtCut[]; readonly live: number } {
    const listed: ItemAtCut[] = []
    let live = 0
    for (const item of this.#items()) {
      const registers = this.#table.registersOf(item)
      if (hasAttributes(registers)) live++
      if (newestOf(registers) <= this.offset && !hasFailed(registers)) continue
      if (listed.push(this.#state(item)) > cutLimits.listed)
        throw new FreshetError('bad-request', `more than ${cutLimits.listed} items are ahead of ${this.offset}`)
    }
    return { listed, live }
  }

  *#items(): Generator<number, void, undefined> {
    const { columns, limit } = this.#table
    for (let item = 0; item < limit; item++)
      if (columns.partition[item] === this.partition && columns.isUsed(item)) yield item
  }

  #now(itemId: ItemId): ItemAtCut {
    const { item } = this.#table.find(itemId)
    if (item !== -1) return this.#state(item)
    return { itemId, attributes: asOffset(-1), objects: null, failed: false, ahead: false }
  }

  #state(item: number): ItemAtCut {
    const registers = this.#table.registersOf(item)
    const isLive = hasAttributes(registers)
    const isSearchable = isLive && hasObjects(registers)
    return {
      itemId: this.#table.idOf(item),
      attributes: asOffset(isLive ? registers.attributesOffset : -1),
      objects: isSearchable ? elementText(this.#table.elementOf(item)) : null,
      failed: hasFailed(registers),
      ahead: newestOf(registers) > this.offset,
    }
  }

  #bucketOf(itemId: ItemId): number {
    return bucketOf(this.#table.find(itemId).hash)
  }
}

/** Live without the objects of its newest picture. */
function hasFailed(registers: Registers): boolean {
  if (!hasAttributes(registers)) return false
  return !hasObjects(registers) || registers.failureOffset > registers.objectsOffset
}

function newestOf({ attributesOffset, objectsOffset, removalOffset, failureOffset }: Registers): number {
  return Math.max(attributesOffset, objectsOffset, removalOffset, failureOffset)
}
