import type { ItemId, Partition } from '../schemas/ids.ts'
import { murmur2 } from '../schemas/partition.ts'
import { type ItemStanding, type ItemState, standingOf, unwritten } from './registers.ts'

export interface Item {
  /** Names the item in the search thread and in bitmaps; given to another item once this one is forgotten. */
  readonly ordinal: number
  readonly partition: Partition
  /** murmur2 of the id as u32. */
  readonly idHash: number
  /** Registers as the log has them. */
  readonly state: ItemState
  /** Registers as the search thread has them: what is told outside. */
  readonly shown: ItemState
}

type MutableItem = { -readonly [Key in keyof Item]: Item[Key] }

export type StandingCounts = Readonly<Record<ItemStanding, number>>

const encoder = new TextEncoder()

/** Every item the shard knows, deleted ones included until they are forgotten. */
export class ItemTable {
  readonly #byId = new Map<ItemId, MutableItem>()
  readonly #byOrdinal: (MutableItem | undefined)[] = []
  readonly #freeOrdinals: number[] = []
  readonly #counts: Record<ItemStanding, number> = { searchable: 0, pending: 0, failed: 0, deleted: 0, unknown: 0 }

  get counts(): StandingCounts {
    return this.#counts
  }

  /** Ordinals lie below. */
  get limit(): number {
    return this.#byOrdinal.length
  }

  find(itemId: ItemId): Item | undefined {
    return this.#byId.get(itemId)
  }

  at(ordinal: number): Item | undefined {
    return this.#byOrdinal[ordinal]
  }

  obtain(itemId: ItemId, partition: Partition): Item {
    return this.#byId.get(itemId) ?? this.#insert(this.#freeOrdinals.pop() ?? this.#byOrdinal.length, itemId, partition)
  }

  /** An item of a checkpoint at its saved ordinal, already shown. */
  restore(ordinal: number, partition: Partition, state: ItemState): Item {
    const item = this.#insert(ordinal, state.itemId, partition)
    this.write(item, state)
    this.show(item, state)
    return item
  }

  /** Ends restoring: ordinals that no item has are free. */
  restored(): void {
    for (let ordinal = 0; ordinal < this.#byOrdinal.length; ordinal++)
      if (this.#byOrdinal[ordinal] === undefined) this.#freeOrdinals.push(ordinal)
  }

  write(item: Item, state: ItemState): void {
    this.#byOrdinal[item.ordinal]!.state = state
  }

  show(item: Item, state: ItemState): void {
    this.#counts[standingOf(item.shown)]--
    this.#counts[standingOf(state)]++
    this.#byOrdinal[item.ordinal]!.shown = state
  }

  /**
   * Forgets items removed before `removedBeforeMs` by an event that `isComplete` says the watermark has passed: no
   * older write of them can come any more. Returns how many.
   */
  forgetRemoved(removedBeforeMs: number, isComplete: (item: Item) => boolean): number {
    let forgotten = 0
    for (const item of this.#byId.values()) {
      const { state } = item
      const isGone = state.attributes === null && state.objects === null && item.shown === state
      if (!isGone || state.removalOffset < 0 || state.removedAtMs >= removedBeforeMs || !isComplete(item)) continue
      this.#counts[standingOf(state)]--
      this.#byId.delete(state.itemId)
      this.#byOrdinal[item.ordinal] = undefined
      this.#freeOrdinals.push(item.ordinal)
      forgotten++
    }
    return forgotten
  }

  items(): IterableIterator<Item> {
    return this.#byId.values()
  }

  #insert(ordinal: number, itemId: ItemId, partition: Partition): MutableItem {
    const state = unwritten(itemId)
    const item = { ordinal, partition, idHash: murmur2(encoder.encode(itemId)) >>> 0, state, shown: state }
    this.#byId.set(itemId, item)
    while (this.#byOrdinal.length < ordinal) this.#byOrdinal.push(undefined)
    this.#byOrdinal[ordinal] = item
    this.#counts.unknown++
    return item
  }
}
