/** The items that one query may return, as of the moment it began: the owner's bits go on changing. */
export class AllowedItems {
  #bits = new Uint32Array(0)
  #words = 0
  #items = new Uint32Array(0)
  #count: number | null = null

  /** Takes a copy; `exclude` is not allowed in any case (-1: no such item). */
  copy(bits: Uint32Array, exclude: number): void {
    const words = bits.length
    if (words > this.#bits.length) this.#bits = new Uint32Array(words)
    // The owner may let the bits grow meanwhile.
    this.#bits.set(bits.subarray(0, words))
    this.#words = words
    this.#count = null
    if (exclude >= 0 && exclude >>> 5 < words) this.#bits[exclude >>> 5]! &= ~(1 << (exclude & 31))
  }

  get bits(): Uint32Array {
    return this.#bits.subarray(0, this.#words)
  }

  has(item: number): boolean {
    const word = item >>> 5
    return word < this.#words && ((this.#bits[word]! >>> (item & 31)) & 1) === 1
  }

  /** Ascending. Valid until the next `copy`. */
  items(): Uint32Array {
    this.#count ??= this.#extract()
    return this.#items.subarray(0, this.#count)
  }

  #extract(): number {
    let count = 0
    for (let word = 0; word < this.#words; word++) {
      let left = this.#bits[word]!
      if (left === 0) continue
      if (count + 32 > this.#items.length) this.#grow()
      while (left !== 0) {
        const lowest = left & -left
        this.#items[count++] = (word << 5) + 31 - Math.clz32(lowest)
        left ^= lowest
      }
    }
    return count
  }

  #grow(): void {
    const grown = new Uint32Array(Math.max(1_024, this.#items.length * 2))
    grown.set(this.#items)
    this.#items = grown
  }
}

/**
 * Rows of the given items in a column of items; both ascend. For each item the step doubles from where the last one
 * was, so that few items cost few looks and many cost no more than a merge.
 */
export function rowsOfItems(column: Uint32Array, items: Uint32Array): Uint32Array {
  const rows: number[] = []
  let at = 0
  for (const item of items) {
    at = firstAtLeast(column, at, item)
    if (at === column.length) break
    while (column[at] === item) rows.push(at++)
  }
  return Uint32Array.from(rows)
}

/** First row, not before `from`, whose item is `item` or higher. */
function firstAtLeast(column: Uint32Array, from: number, item: number): number {
  let step = 1
  let low = from
  while (low + step < column.length && column[low + step]! < item) {
    low += step
    step *= 2
  }
  let high = Math.min(low + step, column.length)
  while (low < high) {
    const middle = (low + high) >>> 1
    if (column[middle]! < item) low = middle + 1
    else high = middle
  }
  return low
}
