import { asOffset, type Generation, type ItemId, type Offset, type Partition } from '../../schemas/ids.ts'
import type { KeyValueStore, KeyValueWrite } from '../key-value-store.ts'
import { decodeEntry, encodeEntry, type ItemEntry } from './item-entry.ts'

/** Entries kept decoded; two of these at most. */
const cachedEntries = 16_384

/** Entries and next mutation offsets that belong together. */
interface Changes {
  readonly entries: ReadonlyMap<ItemId, ItemEntry | null>
  readonly positions: ReadonlyMap<Partition, Offset>
}

interface GrowingChanges extends Changes {
  readonly entries: Map<ItemId, ItemEntry | null>
  readonly positions: Map<Partition, Offset>
}

/**
 * The item table of one generation over a key-value store, with the mutation positions it was made from:
 * `dispatch:<generation>:item:<itemId>` and `dispatch:<generation>:position:<partition>` (f64 little-endian).
 *
 * It is a checkpoint: a change is stored only after the effects of its step are durable, and in one write with the
 * positions. So whatever is missing in it is read again, and what was read leads to the same effects again. Were it
 * ahead of its effects, a garbage-collection null lost in a crash would never be written again.
 *
 * States of a change: new → in flight (its effects are being written) → durable (ready for the checkpoint) → stored.
 */
export class ItemTable {
  readonly #store: KeyValueStore
  readonly #itemPrefix: string
  readonly #positionPrefix: string
  #new = noChanges()
  #inFlight = noChanges()
  #durable = noChanges()
  #young = new Map<ItemId, ItemEntry>()
  #old = new Map<ItemId, ItemEntry>()

  constructor(store: KeyValueStore, generation: Generation) {
    this.#store = store
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

  /** Next mutation offset to read: everything before it is in the stored table. */
  storedPosition(partition: Partition): Offset {
    const bytes = this.#store.get(`${this.#positionPrefix}${partition}`)
    return asOffset(bytes === undefined ? 0 : Buffer.from(bytes).readDoubleLE(0))
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
    for (const [partition, offset] of this.#durable.positions) {
      const value = Buffer.allocUnsafe(8)
      value.writeDoubleLE(offset)
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
  for (const [partition, offset] of later.positions) changes.positions.set(partition, offset)
}
