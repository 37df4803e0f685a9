import { type ItemId, itemIdMaxBytes } from '../../schemas/ids.ts'
import { murmur2 } from '../../schemas/partition.ts'
import { extend, uint16Column, uint32Column } from './growable.ts'
import { WordSlab } from './word-slab.ts'

/** Tables grow one by one, so that no insert waits for the whole index to be hashed anew. */
const tableBits = 10
const smallestTable = 4
const maxLoad = 0.75
const encoder = new TextEncoder()

/**
 * Item id to item number and back. Hash tables with open addressing and linear probing, by murmur2 of the id; the ids
 * as UTF-8 beside them, compared exactly.
 */
export class IdIndex {
  /** Item number + 1 per slot; 0: free. */
  readonly #tables = Array.from({ length: 1 << tableBits }, () => new Uint32Array(smallestTable))
  readonly #counts = new Uint32Array(1 << tableBits)
  /** By item: where its id lies in `#ids`, and its bytes. */
  readonly #at = uint32Column()
  readonly #bytes = uint16Column()
  readonly #hashes: Uint32Array
  readonly #ids = new WordSlab()
  /** One id at a time, as bytes and as words; the last word is filled up with zeros. */
  readonly #words = new Uint32Array(itemIdMaxBytes / 4)
  readonly #text = Buffer.from(this.#words.buffer)
  #length = 0
  #tableBytes = (1 << tableBits) * smallestTable * 4

  /** `hashes`: murmur2 of the id by item number, kept by the caller. */
  constructor(hashes: Uint32Array) {
    this.#hashes = hashes
  }

  get memoryBytes(): number {
    return this.#tableBytes + this.#at.byteLength + this.#bytes.byteLength + this.#ids.memoryBytes
  }

  /** Item number and hash of the id; -1 when no item has it. */
  find(id: ItemId): { readonly item: number; readonly hash: number } {
    this.#encode(id)
    const hash = murmur2(this.#text.subarray(0, this.#length)) >>> 0
    const table = this.#tables[tableOf(hash)]!
    const mask = table.length - 1
    for (let slot = slotOf(hash) & mask; ; slot = (slot + 1) & mask) {
      const item = table[slot]! - 1
      if (item === -1 || this.#isEncoded(item)) return { item, hash }
    }
  }

  /** Makes room for items below `limit`. */
  extend(limit: number): void {
    extend(this.#at, limit)
    extend(this.#bytes, limit)
  }

  /** The id must not be there; `hashes` holds its hash already. */
  insert(item: number, id: ItemId): void {
    this.#encode(id)
    this.#at[item] = this.#ids.store(this.#words.subarray(0, wordsOf(this.#length)))
    this.#bytes[item] = this.#length
    const index = tableOf(this.#hashes[item]!)
    this.#counts[index]!++
    if (this.#counts[index]! > maxLoad * this.#tables[index]!.length) this.#widen(index)
    this.#place(this.#tables[index]!, item)
  }

  delete(item: number): void {
    const hash = this.#hashes[item]!
    const index = tableOf(hash)
    this.#counts[index]!--
    this.#vacate(this.#tables[index]!, item)
    this.#ids.free(this.#at[item]!, wordsOf(this.#bytes[item]!))
  }

  idOf(item: number): ItemId {
    const at = this.#at[item]!
    const bytes = this.#bytes[item]!
    for (let word = wordsOf(bytes) - 1; word >= 0; word--) this.#words[word] = this.#ids.words[at + word]!
    return this.#text.toString('utf8', 0, bytes) as ItemId
  }

  /** UTF-8 bytes of the item's id. */
  bytesOf(item: number): number {
    return this.#bytes[item]!
  }

  #encode(id: ItemId): void {
    this.#length = encoder.encodeInto(id, this.#text).written
    this.#text.fill(0, this.#length, wordsOf(this.#length) * 4)
  }

  #isEncoded(item: number): boolean {
    const bytes = this.#bytes[item]!
    if (bytes !== this.#length) return false
    const at = this.#at[item]!
    for (let word = wordsOf(bytes) - 1; word >= 0; word--)
      if (this.#words[word] !== this.#ids.words[at + word]) return false
    return true
  }

  #widen(index: number): void {
    const narrow = this.#tables[index]!
    const wide = new Uint32Array(narrow.length * 2)
    for (const entry of narrow) if (entry !== 0) this.#place(wide, entry - 1)
    this.#tables[index] = wide
    this.#tableBytes += narrow.byteLength
  }

  #place(table: Uint32Array, item: number): void {
    const mask = table.length - 1
    let slot = slotOf(this.#hashes[item]!) & mask
    while (table[slot] !== 0) slot = (slot + 1) & mask
    table[slot] = item + 1
  }

  /** Frees the item's slot and moves up what probing would no longer reach past it. */
  #vacate(table: Uint32Array, item: number): void {
    const mask = table.length - 1
    let hole = slotOf(this.#hashes[item]!) & mask
    while (table[hole] !== item + 1) hole = (hole + 1) & mask
    for (let slot = (hole + 1) & mask; table[slot] !== 0; slot = (slot + 1) & mask) {
      const home = slotOf(this.#hashes[table[slot]! - 1]!) & mask
      if (((slot - home) & mask) < ((slot - hole) & mask)) continue
      table[hole] = table[slot]!
      hole = slot
    }
    table[hole] = 0
  }
}

/** The low bits of an id's hash name its partition and are alike within a shard. */
function mixed(hash: number): number {
  const spread = Math.imul(hash ^ (hash >>> 15), 0x9e3779b1)
  return spread ^ (spread >>> 13)
}

function tableOf(hash: number): number {
  return mixed(hash) >>> (32 - tableBits)
}

function slotOf(hash: number): number {
  return mixed(hash) & 0x3fffff
}

function wordsOf(bytes: number): number {
  return (bytes + 3) >>> 2
}
