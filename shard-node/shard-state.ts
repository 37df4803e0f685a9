import { type Acceptance, acceptMutation } from '../schemas/accept-mutation.ts'
import { asOffset, type ImageDigest, type ItemId, type Offset, type Partition } from '../schemas/ids.ts'
import { type Mutation, type RegisterMutation, registerOf, type Watermark } from '../schemas/mutation.ts'
import type { SavedWatermark } from './index-age.ts'
import type { DiskItemStore } from './items/disk-item-store.ts'
import type { ItemChange, RowsOfItems } from './items/item-store.ts'
import { RecentTimes } from './recent-times.ts'
import { type RefusedRecord, RefusedRecords } from './refused-records.ts'

/** Where a mutation stood in the log. */
export interface MutationPosition {
  readonly partition: Partition
  readonly offset: Offset
  readonly appendTimeMs: number
}

export interface ShardStateOptions {
  readonly acceptance: Acceptance
  readonly partitions: readonly Partition[]
  readonly items: DiskItemStore
  readonly rows: RowsOfItems
  /** Wall clock, ms since 1970. */
  readonly clock: () => number
}

/** What was applied since the last look, for those who wait. */
export interface Applied {
  readonly items: ReadonlyMap<Partition, ReadonlySet<ItemId>>
  readonly watermarks: ReadonlySet<Partition>
  /** Items that searches find from now on, or by other objects than before; in order, one as often as it happened. */
  readonly searchable: readonly FoundItem[]
}

/** What was read just now of an item that has become searchable; the rest is in the store. */
export interface FoundItem {
  readonly item: number
  readonly itemId: ItemId
  readonly title: string | null
  readonly digest: ImageDigest | null
}

/** Where a shard stands in the log, and what it knows of items and rows once everything below is applied. */
export interface SavedPosition {
  readonly next: ReadonlyMap<Partition, Offset>
  readonly watermarks: ReadonlyMap<Partition, SavedWatermark>
  readonly lastAppendTimeMs: number
  readonly refused: readonly RefusedRecord[]
}

/**
 * Folds the mutation log into items and rows. What is applied is searched: the next search sees it, whole.
 */
export class ShardState {
  readonly items: DiskItemStore
  readonly refused = new RefusedRecords()
  readonly times = new RecentTimes()
  readonly #acceptance: Acceptance
  readonly #rows: RowsOfItems
  readonly #clock: () => number
  readonly #next: Map<Partition, Offset>
  readonly #watermarks = new Map<Partition, SavedWatermark>()
  #lastAppendTimeMs = 0
  #registerWrites = 0
  #applied = new AppliedSince()

  constructor({ acceptance, partitions, items, rows, clock }: ShardStateOptions) {
    this.items = items
    this.#acceptance = acceptance
    this.#rows = rows
    this.#clock = clock
    this.#next = new Map(partitions.map(partition => [partition, asOffset(0)]))
  }

  /** Offsets below which every record is applied. */
  get next(): ReadonlyMap<Partition, Offset> {
    return this.#next
  }

  get watermarks(): ReadonlyMap<Partition, SavedWatermark> {
    return this.#watermarks
  }

  get lastAppendTimeMs(): number {
    return this.#lastAppendTimeMs
  }

  /** Counts what changed a register since the start. */
  get registerWrites(): number {
    return this.#registerWrites
  }

  /** Goes on from where a checkpoint ended. */
  resume({ next, watermarks, lastAppendTimeMs, refused }: SavedPosition): void {
    for (const [partition, offset] of next) this.#next.set(partition, offset)
    for (const [partition, watermark] of watermarks) this.#watermarks.set(partition, watermark)
    this.#lastAppendTimeMs = lastAppendTimeMs
    for (const record of refused) this.refused.add(record)
  }

  /** A record that says nothing to a shard: a null value. */
  skip(position: MutationPosition): void {
    this.pass(position.partition, asOffset(position.offset + 1))
    this.#lastAppendTimeMs = Math.max(this.#lastAppendTimeMs, position.appendTimeMs)
  }

  /** Everything below `next` is applied or was compacted away. */
  pass(partition: Partition, next: Offset): void {
    if (next > (this.#next.get(partition) ?? 0)) this.#next.set(partition, next)
  }

  /**
   * @throws FreshetError `storage-full` | `storage-failed`: nothing happened, the record may come again;
   * `mutation-invalid` when too many records were refused
   */
  apply(position: MutationPosition, mutation: Mutation): void {
    if (mutation.type === 'Watermark') this.#applyWatermark(position.partition, mutation)
    else this.#applyRegister(position, mutation)
    this.skip(position)
  }

  /** @throws FreshetError `mutation-invalid` when too many records were refused */
  refuse(record: RefusedRecord): void {
    this.refused.add(record)
  }

  /** A refused record that the watermark has passed: this replica lacks something it vouches for. */
  lacking(): RefusedRecord | null {
    return this.refused.passed(
      partition => this.#watermarks.get(partition as Partition)?.offset ?? -1,
      itemId => this.items.find(itemId as ItemId),
    )
  }

  /** What was applied since the last call; null when nothing was that anybody waits for. */
  takeApplied(): Applied | null {
    const applied = this.#applied
    if (applied.items.size + applied.watermarks.size === 0) return null
    this.#applied = new AppliedSince()
    return applied
  }

  /** Forgets items removed before that by an event which the watermark has passed: nothing older of them can come. */
  forgetRemoved(removedBeforeMs: number): Promise<number> {
    return this.items.forgetRemoved(
      removedBeforeMs,
      ({ partition, removalOffset }) => removalOffset <= (this.#watermarks.get(partition)?.offset ?? -1),
    )
  }

  #applyWatermark(partition: Partition, watermark: Watermark): void {
    const held = this.#watermarks.get(partition)
    if (held !== undefined && watermark.offset < held.offset) return
    const { offset, oldestPendingTimeMs, writtenAtMs } = watermark
    this.#watermarks.set(partition, { offset, oldestPendingTimeMs, writtenAtMs })
    this.#applied.watermarks.add(partition)
  }

  #applyRegister({ partition, appendTimeMs }: MutationPosition, mutation: RegisterMutation): void {
    const refusal = acceptMutation(mutation, this.#acceptance)
    if (refusal !== null) {
      const { itemId, version } = mutation
      this.refuse({ ...refusal, partition, itemId, register: registerOf(mutation), offset: version.offset })
      return
    }
    const change = this.items.apply(mutation, { partition, appendTimeMs }, this.#rows)
    if (change === null) return
    this.#registerWrites++
    this.times.note(mutation.itemId, change, this.#clock())
    this.#applied.note(partition, mutation, change)
  }
}

class AppliedSince implements Applied {
  readonly items = new Map<Partition, Set<ItemId>>()
  readonly watermarks = new Set<Partition>()
  readonly searchable: FoundItem[] = []

  note(partition: Partition, mutation: RegisterMutation, { item, before, after }: ItemChange): void {
    const { itemId } = mutation
    const changed = this.items.get(partition)
    if (changed === undefined) this.items.set(partition, new Set([itemId]))
    else changed.add(itemId)
    if (after.standing !== 'searchable') return
    if (before.standing === 'searchable' && before.objectsOffset === after.objectsOffset) return
    const title = mutation.type === 'AttributesPut' ? mutation.title : null
    const digest = mutation.type === 'ObjectsPut' ? (mutation.imageDigests[0] ?? null) : null
    this.searchable.push({ item, itemId, title, digest })
  }
}
