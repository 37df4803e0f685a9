/** The items that one query may return, as of the moment it began: the owner's bits go on changing. */
export class AllowedItems {
  #copy = new Uint32Array(0)
  #bits = this.#copy
  #rows = new Uint32Array(0)

  /** Takes a copy; `exclude` is not allowed in any case (-1: no such item). */
  copy(bits: Uint32Array, exclude: number): void {
    const words = bits.length
    if (words > this.#copy.length) this.#copy = new Uint32Array(words)
    this.#bits = this.#copy.subarray(0, words)
    // The owner may let the bits grow meanwhile.
    this.#bits.set(bits.subarray(0, words))
    if (exclude >= 0 && exclude >>> 5 < words) this.#bits[exclude >>> 5]! &= ~(1 << (exclude & 31))
  }

  /** Valid until the next `copy`. */
  get bits(): Uint32Array {
    return this.#bits
  }

  has(item: number): boolean {
    const word = item >>> 5
    return word < this.#bits.length && ((this.#bits[word]! >>> (item & 31)) & 1) === 1
  }

  /** Rows of a column in any order whose items are allowed, ascending. */
  rowsOf(items: Uint32Array): Uint32Array {
    if (items.length > this.#rows.length) this.#rows = new Uint32Array(items.length)
    let count = 0
    for (let row = 0; row < items.length; row++) {
      // Without a branch on the data: it would be mispredicted for most of the rows that are allowed.
      this.#rows[count] = row
      count += Number(this.has(items[row]!))
    }
    return this.#rows.slice(0, count)
  }
}
