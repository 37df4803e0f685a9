import { setImmediate as nextTick } from 'node:timers/promises'
import { asOffset, type Generation, type ItemId, type Partition } from '../../schemas/ids.ts'
import { partitionOf } from '../../schemas/partition.ts'
import type { KeyValueStore, KeyValueWrite } from '../key-value-store.ts'
import type { MutationPosition } from './dispatch-state.ts'
import { decodeEntry, encodeEntry, type ItemEntry } from './item-entry.ts'

/** Entries kept decoded; two of these at most. */
const cachedEntries = 16_384

const positionBytes = 24
/** Entries looked at before other work has its turn. */
const discardSlice = 1_024

/** Entries and mutation positions that belong together. */
interface Changes {
  readonly entries: ReadonlyMap<ItemId, ItemEntry | null>
  readonly positions: ReadonlyMap<Partition, MutationPosition>
}

interface GrowingChanges extends Changes {
  readonly entries: Map<ItemId, ItemEntry | null>
  readonly positions: Map<Partition, MutationPosition>
}

/**
 * The item table of one generation over a key-value store, with the mutation positions it was made from:
 * `dispatch:<generation>:item:<itemId>` and `dispatch:<generation>:position:<partition>` (fields of `MutationPosition`
 * in their order, f64 little-endian; older releases wrote the first alone).
 *
 * It is a checkpoint: a change is stored only after the effects of its step are durable, and in one write with the
 * positions. So whatever is missing in it is read again, and what was read leads to the same effects again. Were it
 * ahead of its effects, a garbage-collection null lost in a crash would never be written again.
 *
 * States of a change: new → in flight (its effects are being written) → durable (ready for the checkpoint) → stored.
 */
export class ItemTable {
  readonly #store: KeyValueStore
  readonly #partitionCount: number
  readonly #itemPrefix: string
  readonly #positionPrefix: string
  #new = noChanges()
  #inFlight = noChanges()
  #durable = noChanges()
  #young = new Map<ItemId, ItemEntry>()
  #old = new Map<ItemId, ItemEntry>()

  constructor(
    store: KeyValueStore,
    { generation, partitionCount }: { readonly generation: Generation; readonly partitionCount: number },
  ) {
    this.#store = store
    this.#partitionCount = partitionCount
    this.#itemPrefix = `dispatch:${generation}:item:`
    this.#positionPrefix = `dispatch:${generation}:position:`
  }

  lookup(itemId: ItemId): ItemEntry | undefined {
    for (const { entries } of [this.#new, this.#inFlight, this.#durable]) {
      const entry = entries.get(itemId)
      if (entry !== undefined) return entry ?? undefined
    }
    const cached = this.#young.get(itemId) ?? this.#old.get(itemId)
    if (cached) return cached
    const bytes = this.#store.get(this.#itemPrefix + itemId)
    if (bytes === undefined) return undefined
    const entry = decodeEntry(bytes)
    this.#remember(itemId, entry)
    return entry
  }

  /** Everything before it is in the stored table; undefined when nothing of the partition is. */
  storedPosition(partition: Partition): MutationPosition | undefined {
    const stored = this.#store.get(`${this.#positionPrefix}${partition}`)
    if (stored === undefined) return undefined
    const bytes = Buffer.from(stored)
    const next = asOffset(bytes.readDoubleLE(0))
    if (bytes.length < positionBytes) return { next, appendTimeMs: 0, highestVersion: asOffset(-1) }
    return { next, appendTimeMs: bytes.readDoubleLE(8), highestVersion: asOffset(bytes.readDoubleLE(16)) }
  }

  /**
   * Forgets all entries of the partitions, which nobody may change meanwhile. The positions go last: cut short by a
   * crash, the rest is as old as before.
   */
  async discard(partitions: ReadonlySet<Partition>): Promise<void> {
    const isOf = (itemId: ItemId) => partitions.has(partitionOf(itemId, this.#partitionCount))
    for (const { entries, positions } of [this.#new, this.#inFlight, this.#durable]) {
      for (const itemId of entries.keys()) if (isOf(itemId)) entries.delete(itemId)
      for (const partition of partitions) positions.delete(partition)
    }
    this.#young.clear()
    this.#old.clear()
    let itemIds: readonly ItemId[] = []
    do {
      itemIds = this.storedItems(itemIds.at(-1) ?? null, discardSlice)
      const discarded = itemIds.filter(isOf)
      if (discarded.length === 0) await nextTick()
      else await this.#store.write(discarded.map(itemId => ({ key: this.#itemPrefix + itemId, value: null })))
    } while (itemIds.length === discardSlice)
    await this.#store.write(
      Array.from(partitions, partition => ({ key: `${this.#positionPrefix}${partition}`, value: null })),
    )
  }

  change(changes: Changes): void {
    addTo(this.#new, changes)
  }

  /** The effects of all new changes are being written now. Ended by `effectsWritten` or `effectsFailed`. */
  effectsIssued(): void {
    this.#inFlight = this.#new
    this.#new = noChanges()
  }

  effectsWritten(): void {
    addTo(this.#durable, this.#inFlight)
    this.#inFlight = noChanges()
  }

  effectsFailed(): void {
    addTo(this.#inFlight, this.#new)
    this.#new = this.#inFlight
    this.#inFlight = noChanges()
  }

  /** Number of entries that may be stored. */
  get durableChanges(): number {
    return this.#durable.entries.size
  }

  /** What may be stored, as one write. Nothing is added to it until `effectsWritten`. */
  checkpoint(): readonly KeyValueWrite[] {
    const writes: KeyValueWrite[] = []
    for (const [itemId, entry] of this.#durable.entries)
      writes.push({ key: this.#itemPrefix + itemId, value: entry && encodeEntry(entry) })
    for (const [partition, { next, appendTimeMs, highestVersion }] of this.#durable.positions) {
      const value = Buffer.allocUnsafe(positionBytes)
      value.writeDoubleLE(next, 0)
      value.writeDoubleLE(appendTimeMs, 8)
      value.writeDoubleLE(highestVersion, 16)
      writes.push({ key: `${this.#positionPrefix}${partition}`, value })
    }
    return writes
  }

  checkpointStored(): void {
    for (const [itemId, entry] of this.#durable.entries) {
      this.#old.delete(itemId)
      if (entry) this.#remember(itemId, entry)
      else this.#young.delete(itemId)
    }
    this.#durable = noChanges()
  }

  /** Ids of stored entries, in order of their bytes, after the given one. */
  storedItems(after: ItemId | null, limit: number): readonly ItemId[] {
    const options = after === null ? { limit } : { limit, after: this.#itemPrefix + after }
    const entries = this.#store.entries(this.#itemPrefix, options)
    return entries.map(({ key }) => key.slice(this.#itemPrefix.length) as ItemId)
  }

  #remember(itemId: ItemId, entry: ItemEntry): void {
    if (this.#young.size >= cachedEntries) {
      this.#old = this.#young
      this.#young = new Map()
    }
    this.#young.set(itemId, entry)
  }
}

function noChanges(): GrowingChanges {
  return { entries: new Map(), positions: new Map() }
}

/** The later ones win. */
function addTo(changes: GrowingChanges, later: Changes): void {
  for (const [itemId, entry] of later.entries) changes.entries.set(itemId, entry)
  for (const [partition, position] of later.positions) changes.positions.set(partition, position)
}
