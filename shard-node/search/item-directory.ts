/** Where the rows of items lie in a column that ascends: one entry for the 32 items of each word of a bitmap. */
export class ItemDirectory {
  readonly #items: Uint32Array
  /** First row of each entry, and the end of the last one's. */
  readonly #firstRows: Uint32Array
  #rows = new Uint32Array(1_024)

  /** `items` by row, ascending, each below `limit`, a multiple of 32. */
  constructor(items: Uint32Array, limit: number) {
    this.#items = items
    this.#firstRows = new Uint32Array(limit / 32 + 1)
    let entry = 0
    for (let row = 0; row < items.length; row++) while (entry <= items[row]! >>> 5) this.#firstRows[entry++] = row
    this.#firstRows.fill(items.length, entry)
  }

  /** Rows of the items whose bits are set, ascending. Valid until the next call. */
  rowsOf(bits: Uint32Array): Uint32Array {
    const items = this.#items
    const entries = Math.min(bits.length, this.#firstRows.length - 1)
    let count = 0
    for (let entry = 0; entry < entries; entry++) {
      let left = bits[entry]!
      if (left === 0) continue
      const from = this.#firstRows[entry]!
      const to = this.#firstRows[entry + 1]!
      if (count + to - from > this.#rows.length) this.#grow(count + to - from)
      while (left !== 0) {
        const bit = 31 - Math.clz32(left & -left)
        left &= left - 1
        const item = entry * 32 + bit
        // The rows of 32 items are spread evenly, more or less.
        let row = from + (((to - from) * bit) >>> 5)
        while (row > from && items[row - 1]! >= item) row--
        while (row < to && items[row]! < item) row++
        while (row < to && items[row] === item) this.#rows[count++] = row++
      }
    }
    return this.#rows.subarray(0, count)
  }

  #grow(rows: number): void {
    const grown = new Uint32Array(Math.max(rows, this.#rows.length * 2))
    grown.set(this.#rows)
    this.#rows = grown
  }
}
