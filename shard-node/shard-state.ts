import { type Acceptance, acceptMutation } from '../schemas/accept-mutation.ts'
import { asOffset, type ItemId, type Offset, type Partition } from '../schemas/ids.ts'
import {
  type Mutation,
  type ObjectsPut,
  type RegisterMutation,
  registerOf,
  type Watermark,
} from '../schemas/mutation.ts'
import { AllowedItems } from './allowed-items.ts'
import type { SavedWatermark } from './checkpoint-manifest.ts'
import type { ItemOperation } from './item-index.ts'
import { type Item, ItemTable } from './item-table.ts'
import { PartitionDigests } from './partition-digest.ts'
import { RecentTimes } from './recent-times.ts'
import { type RefusedRecord, RefusedRecords } from './refused-records.ts'
import { applyMutation, type ItemState, isSearchable } from './registers.ts'

/** Where a mutation stood in the log. */
export interface MutationPosition {
  readonly partition: Partition
  readonly offset: Offset
  readonly appendTimeMs: number
}

/** What was applied to the registers since the batch before; shown to the outside once the search thread did the same. */
export interface Batch {
  readonly operations: readonly ItemOperation[]
  readonly changes: ReadonlyMap<Item, ItemState>
  readonly watermarks: ReadonlyMap<Partition, SavedWatermark>
  readonly next: ReadonlyMap<Partition, Offset>
}

/** What one `show` changed, for those who wait. */
export interface Shown {
  readonly items: ReadonlyMap<Partition, ReadonlySet<ItemId>>
  readonly watermarks: readonly Partition[]
  /** Items that are searchable, or by other objects than before. */
  readonly searchable: readonly ItemState[]
}

/**
 * Everything the owner of a shard knows, without threads, files or clocks. A record passes twice: `apply` folds it
 * into the registers and collects what the search thread has to do, `show` makes it known once that is done. Between
 * the two, `item.state` is ahead of `item.shown`.
 */
export class ShardState {
  readonly table = new ItemTable()
  readonly allowed = new AllowedItems(this.table)
  readonly refused = new RefusedRecords()
  readonly times = new RecentTimes()
  readonly #acceptance: Acceptance
  readonly #digests = new Map<Partition, PartitionDigests>()
  readonly #watermarks = new Map<Partition, SavedWatermark>()
  readonly #shownWatermarks = new Map<Partition, SavedWatermark>()
  readonly #next = new Map<Partition, Offset>()
  readonly #shownNext = new Map<Partition, Offset>()
  #lastAppendTimeMs = 0
  #registerWrites = 0
  #pending = new PendingBatch()

  constructor(acceptance: Acceptance, partitions: readonly Partition[]) {
    this.#acceptance = acceptance
    for (const partition of partitions) {
      this.#digests.set(partition, new PartitionDigests(acceptance.topicEpoch))
      this.#next.set(partition, asOffset(0))
      this.#shownNext.set(partition, asOffset(0))
    }
  }

  /** Offsets of the next records to apply. */
  get next(): ReadonlyMap<Partition, Offset> {
    return this.#next
  }

  /** Offsets below which every record is applied and searched. */
  get shownNext(): ReadonlyMap<Partition, Offset> {
    return this.#shownNext
  }

  /** Watermarks of what is applied: true of every search sent after `takeBatch`. */
  get watermarks(): ReadonlyMap<Partition, SavedWatermark> {
    return this.#watermarks
  }

  get shownWatermarks(): ReadonlyMap<Partition, SavedWatermark> {
    return this.#shownWatermarks
  }

  get digests(): ReadonlyMap<Partition, PartitionDigests> {
    return this.#digests
  }

  get lastAppendTimeMs(): number {
    return this.#lastAppendTimeMs
  }

  /** Counts what changed a register since the start. */
  get registerWrites(): number {
    return this.#registerWrites
  }

  /** A record that says nothing to a shard: a null value. */
  skip(position: MutationPosition): void {
    this.pass(position.partition, asOffset(position.offset + 1))
    this.#lastAppendTimeMs = Math.max(this.#lastAppendTimeMs, position.appendTimeMs)
  }

  /** Everything below `next` is applied or was compacted away. */
  pass(partition: Partition, next: Offset): void {
    if (next <= (this.#next.get(partition) ?? 0)) return
    this.#next.set(partition, next)
    this.#pending.next.set(partition, next)
  }

  /** @throws FreshetError `mutation-invalid` when too many records were refused */
  apply(position: MutationPosition, mutation: Mutation): void {
    this.skip(position)
    if (mutation.type === 'Watermark') {
      this.#applyWatermark(position.partition, mutation)
      return
    }
    const refusal = acceptMutation(mutation, this.#acceptance)
    if (refusal === null) this.#applyRegister(position.partition, mutation)
    else
      this.refuse({
        ...refusal,
        partition: position.partition,
        itemId: mutation.itemId,
        register: registerOf(mutation),
        offset: mutation.version.offset,
      })
  }

  /** @throws FreshetError `mutation-invalid` when too many records were refused */
  refuse(record: RefusedRecord): void {
    this.refused.add(record)
  }

  /** A refused record that the watermark has passed: this replica lacks something it vouches for. */
  lacking(): RefusedRecord | null {
    return this.refused.passed(
      partition => this.#watermarks.get(partition as Partition)?.offset ?? -1,
      itemId => this.table.find(itemId as ItemId)?.state,
    )
  }

  /** What was applied since the last call; null when nothing was. */
  takeBatch(): Batch | null {
    if (this.#pending.next.size === 0) return null
    const batch = this.#pending
    this.#pending = new PendingBatch()
    return {
      operations: batch.operations(this.#acceptance.dims * 2),
      changes: batch.after(),
      watermarks: batch.watermarks,
      next: batch.next,
    }
  }

  /** The search thread has done the batch's operations; batches are shown in the order taken. */
  show(batch: Batch, nowMs: number): Shown {
    const items = new Map<Partition, Set<ItemId>>()
    const searchable: ItemState[] = []
    for (const [item, after] of batch.changes) {
      const before = item.shown
      this.#digests.get(item.partition)?.replace(item.idHash, before, after)
      this.times.note(after.itemId, { before, after }, nowMs)
      this.table.show(item, after)
      if (isSearchable(after) && (!isSearchable(before) || before.objects !== after.objects)) searchable.push(after)
      const changed = items.get(item.partition) ?? new Set()
      items.set(item.partition, changed.add(after.itemId))
    }
    for (const [partition, watermark] of batch.watermarks) this.#shownWatermarks.set(partition, watermark)
    for (const [partition, offset] of batch.next) this.#shownNext.set(partition, offset)
    return { items, watermarks: [...batch.watermarks.keys()], searchable }
  }

  restoreItem(ordinal: number, partition: Partition, state: ItemState): void {
    const item = this.table.restore(ordinal, partition, state)
    this.#digests.get(partition)?.replace(item.idHash, emptied(state), state)
  }

  /** Ends restoring, with what the manifest says of the log. */
  restored(saved: {
    readonly next: ReadonlyMap<Partition, Offset>
    readonly watermarks: ReadonlyMap<Partition, SavedWatermark>
    readonly lastAppendTimeMs: number
    readonly refused: readonly RefusedRecord[]
  }): void {
    this.table.restored()
    for (const [partition, offset] of saved.next) {
      this.#next.set(partition, offset)
      this.#shownNext.set(partition, offset)
    }
    for (const [partition, watermark] of saved.watermarks) {
      this.#watermarks.set(partition, watermark)
      this.#shownWatermarks.set(partition, watermark)
    }
    this.#lastAppendTimeMs = saved.lastAppendTimeMs
    for (const record of saved.refused) this.refused.add(record)
  }

  /** Forgets removals older than the retention of tombstones; see `ItemTable.forgetRemoved`. */
  forgetRemoved(removedBeforeMs: number): number {
    return this.table.forgetRemoved(
      removedBeforeMs,
      item => item.state.removalOffset <= (this.#shownWatermarks.get(item.partition)?.offset ?? -1),
    )
  }

  #applyWatermark(partition: Partition, watermark: Watermark): void {
    const held = this.#watermarks.get(partition)
    if (held !== undefined && watermark.offset < held.offset) return
    const { offset, oldestPendingTimeMs, writtenAtMs } = watermark
    this.#watermarks.set(partition, { offset, oldestPendingTimeMs, writtenAtMs })
    this.#pending.watermarks.set(partition, { offset, oldestPendingTimeMs, writtenAtMs })
  }

  #applyRegister(partition: Partition, mutation: RegisterMutation): void {
    const item = this.table.obtain(mutation.itemId, partition)
    const before = item.state
    const after = applyMutation(before, mutation)
    if (after === before) return
    this.#registerWrites++
    this.table.write(item, after)
    this.#pending.note(item, before, mutation.type === 'ObjectsPut' && after.objects !== null ? mutation : null)
    if (after.attributes !== before.attributes) this.allowed.update(item.ordinal, after.attributes)
  }
}

/** Collects by item what changed since the last batch. */
class PendingBatch {
  readonly next = new Map<Partition, Offset>()
  readonly watermarks = new Map<Partition, SavedWatermark>()
  readonly #before = new Map<Item, ItemState>()
  /** The newest objects put in this batch; their vectors are nowhere else on this side. */
  readonly #puts = new Map<Item, ObjectsPut>()

  note(item: Item, before: ItemState, put: ObjectsPut | null): void {
    if (!this.#before.has(item)) this.#before.set(item, before)
    if (put !== null) this.#puts.set(item, put)
  }

  after(): Map<Item, ItemState> {
    const changes = new Map<Item, ItemState>()
    for (const item of this.#before.keys()) changes.set(item, item.state)
    return changes
  }

  operations(rowBytes: number): ItemOperation[] {
    const operations: ItemOperation[] = []
    for (const [item, before] of this.#before) {
      const operation = this.#operation(item, before, rowBytes)
      if (operation !== null) operations.push(operation)
    }
    return operations
  }

  /**
   * What takes the thread's rows of an item from one state to the next. Objects that count are held by the thread
   * even while the item is not live (their event may be read before its attributes), then not shown.
   */
  #operation(item: Item, before: ItemState, rowBytes: number): ItemOperation | null {
    const { ordinal, state } = item
    const shown = state.attributes !== null
    if (state.objects === null) return before.objects === null ? null : { type: 'drop', item: ordinal }
    const put = this.#puts.get(item)
    if (state.objects !== before.objects && put !== undefined)
      return { type: 'put', item: ordinal, tie: item.idHash, shown, vectors: joinVectors(put, rowBytes) }
    if (shown === (before.attributes !== null)) return null
    return { type: shown ? 'show' : 'hide', item: ordinal }
  }
}

/** Own bytes: a view of the record's buffer would take the whole buffer along to the thread. */
function joinVectors(put: ObjectsPut, rowBytes: number): Uint8Array {
  const joined = new Uint8Array(put.objects.length * rowBytes)
  put.objects.forEach((object, i) => {
    joined.set(object.vector, i * rowBytes)
  })
  return joined
}

function emptied(state: ItemState): ItemState {
  return { ...state, attributes: null, objects: null }
}
