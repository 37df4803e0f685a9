import { createHash } from 'node:crypto'
import type { KeyValueStore } from '../topologies/key-value-store.ts'

export interface BoundedTableOptions {
  readonly store: KeyValueStore
  /** Prefix of its keys in the store; ends where the hash begins, so no prefix may begin another. */
  readonly prefix: string
  readonly maxEntries: number
  /** 0 to 1; which entries make room. */
  readonly random: () => number
}

const evictedRatio = 0.02

/**
 * A table of facts that may be lost at any time, with a bound on its entries. Keys are hashed, so they lie evenly in
 * the store, and making room means deleting a run of keys from a random place: no order of use has to be kept.
 * The count lies in the store beside the entries and is written with them.
 */
export class BoundedTable {
  readonly #options: BoundedTableOptions
  readonly #countKey: string
  readonly #arriving = new Set<string>()
  #count: number

  constructor(options: BoundedTableOptions) {
    this.#options = options
    this.#countKey = `${options.prefix}#`
    const stored = options.store.get(this.#countKey)
    this.#count = stored === undefined ? 0 : Number(Buffer.from(stored).toString())
  }

  get entryCount(): number {
    return this.#count
  }

  get(key: string): Uint8Array | undefined {
    return this.#options.store.get(this.#storedKey(key))
  }

  /** Adds or replaces entries; durable when resolved. */
  async put(entries: readonly { readonly key: string; readonly value: Uint8Array }[]): Promise<void> {
    const writes = entries.map(({ key, value }) => ({ key: this.#storedKey(key), value }))
    const added = new Set(writes.map(({ key }) => key).filter(key => !this.#isHeld(key)))
    const removed = this.#makeRoom(added.size, new Set(writes.map(({ key }) => key)))
    const change = added.size - removed.length
    this.#count += change
    for (const key of added) this.#arriving.add(key)
    try {
      await this.#options.store.write([
        ...removed.map(key => ({ key, value: null })),
        ...writes,
        { key: this.#countKey, value: Buffer.from(String(this.#count)) },
      ])
    } catch (thrown) {
      this.#count -= change
      throw thrown
    } finally {
      for (const key of added) this.#arriving.delete(key)
    }
  }

  /** Stored, or about to be by another call. */
  #isHeld(storedKey: string): boolean {
    return this.#arriving.has(storedKey) || this.#options.store.get(storedKey) !== undefined
  }

  #makeRoom(adding: number, kept: ReadonlySet<string>): readonly string[] {
    const { store, prefix, maxEntries, random } = this.#options
    const excess = this.#count + adding - maxEntries
    if (excess <= 0) return []
    const wanted = Math.min(this.#count, excess + Math.ceil(maxEntries * evictedRatio))
    const from =
      prefix +
      Math.floor(random() * 0x1_0000_0000)
        .toString(16)
        .padStart(8, '0')
    // So many more, because some of the run may have to stay.
    const limit = wanted + kept.size + 1
    const after = store.entries(prefix, { after: from, limit })
    const wrapped = after.length < limit ? store.entries(prefix, { limit: limit - after.length }) : []
    const run = new Set([...after, ...wrapped].map(({ key }) => key))
    return [...run].filter(key => key !== this.#countKey && !kept.has(key)).slice(0, wanted)
  }

  #storedKey(key: string): string {
    return this.#options.prefix + createHash('sha256').update(key).digest('hex')
  }
}
