import { asOffset, type Generation, type ItemId, type Offset, type Partition } from '../../schemas/ids.ts'
import type { KeyValueStore, KeyValueWrite } from '../key-value-store.ts'
import { decodeEntry, encodeEntry, type ItemEntry } from './item-entry.ts'

/** Entries kept decoded; two of these at most. */
const cachedEntries = 16_384

/**
 * The item table of one generation over a key-value store, with the mutation positions it was made from:
 * `dispatch:<generation>:item:<itemId>` and `dispatch:<generation>:position:<partition>` (f64 little-endian).
 * Entries and positions go into one write, so what the table knows is always what lies before its positions.
 *
 * A changed entry is found in memory until its write is durable. States: changed → being written → cached or evicted;
 * a failed write makes it changed again, unless it has changed since.
 */
export class ItemTable {
  readonly #store: KeyValueStore
  readonly #itemPrefix: string
  readonly #positionPrefix: string
  #changed = new Map<ItemId, ItemEntry | null>()
  #changedPositions = new Map<Partition, Offset>()
  #writing = new Map<ItemId, ItemEntry | null>()
  #writingPositions = new Map<Partition, Offset>()
  #young = new Map<ItemId, ItemEntry>()
  #old = new Map<ItemId, ItemEntry>()

  constructor(store: KeyValueStore, generation: Generation) {
    this.#store = store
    this.#itemPrefix = `dispatch:${generation}:item:`
    this.#positionPrefix = `dispatch:${generation}:position:`
  }

  lookup(itemId: ItemId): ItemEntry | undefined {
    const changed = this.#changed.get(itemId)
    if (changed !== undefined) return changed ?? undefined
    const writing = this.#writing.get(itemId)
    if (writing !== undefined) return writing ?? undefined
    const cached = this.#young.get(itemId) ?? this.#old.get(itemId)
    if (cached) return cached
    const bytes = this.#store.get(this.#itemPrefix + itemId)
    if (bytes === undefined) return undefined
    const entry = decodeEntry(bytes)
    this.#remember(itemId, entry)
    return entry
  }

  /** Next mutation offset to read: everything before it is in the table. */
  position(partition: Partition): Offset {
    const bytes = this.#store.get(`${this.#positionPrefix}${partition}`)
    return asOffset(bytes === undefined ? 0 : Buffer.from(bytes).readDoubleLE(0))
  }

  /** Changed entries that wait to be written. Positions alone are no reason to write: they go with the next entry. */
  get changes(): number {
    return this.#changed.size
  }

  change(entries: ReadonlyMap<ItemId, ItemEntry | null>, positions: ReadonlyMap<Partition, Offset>): void {
    for (const [itemId, entry] of entries) this.#changed.set(itemId, entry)
    for (const [partition, offset] of positions) this.#changedPositions.set(partition, offset)
  }

  /** What has changed, as writes; one such write at a time, ended by `written` or `failed`. */
  beginWrite(): readonly KeyValueWrite[] {
    this.#writing = this.#changed
    this.#writingPositions = this.#changedPositions
    this.#changed = new Map()
    this.#changedPositions = new Map()
    const writes: KeyValueWrite[] = []
    for (const [itemId, entry] of this.#writing)
      writes.push({ key: this.#itemPrefix + itemId, value: entry && encodeEntry(entry) })
    for (const [partition, offset] of this.#writingPositions) {
      const value = Buffer.allocUnsafe(8)
      value.writeDoubleLE(offset)
      writes.push({ key: `${this.#positionPrefix}${partition}`, value })
    }
    return writes
  }

  written(): void {
    for (const [itemId, entry] of this.#writing) {
      this.#old.delete(itemId)
      if (entry) this.#remember(itemId, entry)
      else this.#young.delete(itemId)
    }
    this.#writing = new Map()
    this.#writingPositions = new Map()
  }

  failed(): void {
    this.#changed = new Map([...this.#writing, ...this.#changed])
    this.#changedPositions = new Map([...this.#writingPositions, ...this.#changedPositions])
    this.#writing = new Map()
    this.#writingPositions = new Map()
  }

  /** Ids of durable entries, in order of their bytes, after the given one. */
  itemIds(after: ItemId | null, limit: number): readonly ItemId[] {
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
