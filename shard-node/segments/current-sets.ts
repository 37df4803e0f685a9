/** Which rows are the current set of each item: 9 bytes per item number. */
export class CurrentSets {
  #firstOrdinals = new Float64Array(1_024)
  #counts = new Uint8Array(1_024)
  #limit = 0

  /** Item numbers lie below. */
  get limit(): number {
    return this.#limit
  }

  get memoryBytes(): number {
    return this.#firstOrdinals.byteLength + this.#counts.byteLength
  }

  /** Rows of the item's set; 0: it has none. */
  countOf(item: number): number {
    return this.#counts[item] ?? 0
  }

  /** Ordinal of the set's first row; meaningful when it has rows. */
  firstOrdinalOf(item: number): number {
    return this.#firstOrdinals[item] ?? 0
  }

  set(item: number, firstOrdinal: number, count: number): void {
    if (item >= this.#counts.length) this.#grow(item)
    this.#limit = Math.max(this.#limit, item + 1)
    this.#firstOrdinals[item] = firstOrdinal
    this.#counts[item] = count
  }

  clear(item: number): void {
    if (item < this.#limit) this.#counts[item] = 0
  }

  #grow(item: number): void {
    const length = Math.max(this.#counts.length * 2, item + 1)
    const firstOrdinals = new Float64Array(length)
    const counts = new Uint8Array(length)
    firstOrdinals.set(this.#firstOrdinals)
    counts.set(this.#counts)
    this.#firstOrdinals = firstOrdinals
    this.#counts = counts
  }
}
