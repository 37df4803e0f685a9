import type { RowColumns } from '../kernel/row-memory.ts'

/**
 * Where in a log segment each item was written last: a hash table with open addressing that holds row numbers plus 1,
 * 0 where it is free; the keys are the segment's own `items`. At most half full, so that probes are short.
 */
export class LogDirectory {
  readonly #items: Uint32Array
  readonly #slots: Uint32Array

  constructor({ items, shape }: RowColumns) {
    this.#items = items
    this.#slots = new Uint32Array(2 ** Math.ceil(Math.log2(2 * Math.max(1, shape.capacity))))
  }

  get memoryBytes(): number {
    return this.#slots.byteLength
  }

  /** First row of the item's latest set, a current one or not; -1: none. */
  rowOf(item: number): number {
    return this.#slots[this.#slotOf(item)]! - 1
  }

  /** A set of the item begins at this row. */
  add(row: number): void {
    this.#slots[this.#slotOf(this.#items[row]!)] = row + 1
  }

  #slotOf(item: number): number {
    const mask = this.#slots.length - 1
    let slot = Math.imul(item, 0x9e3779b1) >>> 7
    for (;;) {
      slot &= mask
      const row = this.#slots[slot]!
      if (row === 0 || this.#items[row - 1] === item) return slot
      slot++
    }
  }
}
