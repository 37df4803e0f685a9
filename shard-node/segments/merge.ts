import type { IndexSegment } from './index-segment.ts'
import { isGarbage, standingOf } from './row-word.ts'

/**
 * Segments being merged into a new one, which takes long, while their sets go on changing. Knows which rows go in, and
 * which items are to be looked at again before the new segment takes the place of the old ones.
 */
export class Merge {
  readonly inputs: readonly IndexSegment[]
  /** A bit per row of each input, least significant first: rows of current sets, once all have been looked at. */
  readonly keep: readonly Uint8Array[]
  #input = 0
  #row = 0
  #keptRows = 0
  #touched: number[] = []

  constructor(inputs: readonly IndexSegment[]) {
    this.inputs = inputs
    this.keep = inputs.map(segment => new Uint8Array(Math.ceil(segment.rows / 8)))
  }

  get keptRows(): number {
    return this.#keptRows
  }

  /** Items to look at again; an item may count more than once. */
  get touched(): number {
    return this.#touched.length
  }

  /**
   * Notes which of the next rows to keep, of one input. False when there are none left. A set may change between two
   * calls: it is touched.
   */
  lookAt(rows: number): boolean {
    const segment = this.inputs[this.#input]
    if (segment === undefined) return false
    const to = Math.min(segment.rows, this.#row + rows)
    this.#look(segment, this.keep[this.#input]!, to)
    this.#row = to
    if (to < segment.rows) return true
    this.#input++
    this.#row = 0
    return true
  }

  touch(item: number): void {
    this.#touched.push(item)
  }

  takeTouched(): readonly number[] {
    const touched = this.#touched
    this.#touched = []
    return touched
  }

  /** The new segment begins with every row visible, so items that are hidden now are to be looked at again. */
  #look({ columns: { words, items } }: IndexSegment, keep: Uint8Array, to: number): void {
    for (let row = this.#row; row < to; row++) {
      const word = words[row]!
      if (isGarbage(word)) continue
      keep[row >>> 3]! |= 1 << (row & 7)
      this.#keptRows++
      if (word !== 0 && standingOf(word) === 'hidden') this.#touched.push(items[row]!)
    }
  }
}
