import { setImmediate as nextTurn } from 'node:timers/promises'
import type { SearchFilter } from '../../schemas/shard-api.ts'
import type { AllowedBits } from '../vector-index.ts'
import { extend, maxItems, sharedUint32Column } from './growable.ts'
import { columnsMatch, keyOf } from './item-filter.ts'
import type { ItemTable } from './item-table.ts'

const filtersKept = 32
/** Words of 32 items evaluated before the event loop gets its turn: about 1 ms. */
const wordsPerSlice = 640

/**
 * The allowed items of the filters used last. A filter is evaluated over all items once; afterwards each item that
 * changes is evaluated again for the filters kept, which is cheaper than evaluating a filter after every change.
 */
export class FilterBits {
  readonly #table: ItemTable
  /** By filter; the least recently used first. */
  readonly #kept = new Map<string, KeptFilter>()

  constructor(table: ItemTable) {
    this.#table = table
  }

  get memoryBytes(): number {
    let bytes = 0
    for (const { bits } of this.#kept.values()) bytes += bits.byteLength
    return bytes
  }

  async allowed(filter: SearchFilter): Promise<AllowedBits> {
    const key = keyOf(filter)
    const kept = this.#kept.get(key) ?? new KeptFilter(filter, this.#table)
    this.#kept.delete(key)
    this.#kept.set(key, kept)
    if (this.#kept.size > filtersKept) this.#letGo()
    await kept.evaluated
    return kept
  }

  /** Call it when the item's attributes changed. */
  update(item: number): void {
    for (const kept of this.#kept.values()) kept.update(item)
  }

  /** The one used least recently; not one that is awaited, whose changes must not be missed. */
  #letGo(): void {
    for (const [key, kept] of this.#kept)
      if (kept.isEvaluated) {
        this.#kept.delete(key)
        return
      }
  }
}

class KeptFilter implements AllowedBits {
  readonly bits = sharedUint32Column(maxItems / 32)
  readonly evaluated: Promise<void>
  readonly #table: ItemTable
  readonly #matches: (item: number) => boolean
  #count = 0
  #isEvaluated = false

  constructor(filter: SearchFilter, table: ItemTable) {
    this.#table = table
    this.#matches = columnsMatch(filter, table)
    this.evaluated = this.#evaluate()
  }

  get count(): number {
    return this.#count
  }

  get isEvaluated(): boolean {
    return this.#isEvaluated
  }

  update(item: number): void {
    const word = item >>> 5
    const bit = 1 << (item & 31)
    const is = this.#matches(item)
    extend(this.bits, this.#words)
    const was = (this.bits[word]! & bit) !== 0
    if (was === is) return
    this.bits[word]! ^= bit
    this.#count += is ? 1 : -1
  }

  /** As many as the items have room for, so that bits grow as rarely. */
  get #words(): number {
    return this.#table.columns.room / 32
  }

  /** Items that change meanwhile, behind this place or ahead of it, are right by `update`. */
  async #evaluate(): Promise<void> {
    for (let word = 0; word * 32 < this.#table.limit; word++) {
      if (word % wordsPerSlice === wordsPerSlice - 1) await nextTurn()
      extend(this.bits, this.#words)
      const mask = this.#maskOf(word)
      this.#count += onesIn(mask) - onesIn(this.bits[word]!)
      this.bits[word] = mask
    }
    this.#isEvaluated = true
  }

  #maskOf(word: number): number {
    let mask = 0
    for (let bit = 0; bit < 32; bit++) if (this.#matches(word * 32 + bit)) mask |= 1 << bit
    return mask >>> 0
  }
}

function onesIn(word: number): number {
  let ones = 0
  for (let rest = word; rest !== 0; rest &= rest - 1) ones++
  return ones
}
