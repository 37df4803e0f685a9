import type { IndexPart } from './index-part.ts'
import { isGarbage, standingOf } from './row-word.ts'

/**
 * Parts being merged into a new one, which takes long, while their sets go on changing. Knows which rows went in, and
 * which items are to be looked at again before the new part takes the place of the old ones.
 */
export class Merge {
  readonly inputs: readonly IndexPart[]
  /** A bit per row of each input, least significant first: rows of current sets when the merge began. */
  readonly keep: readonly Uint8Array[]
  readonly keptRows: number
  #touched: number[] = []

  constructor(inputs: readonly IndexPart[]) {
    this.inputs = inputs
    this.keep = inputs.map(part => this.#keepOf(part))
    this.keptRows = inputs.reduce((sum, part) => sum + part.rows - part.garbage, 0)
  }

  /** Items to look at again; an item may count more than once. */
  get touched(): number {
    return this.#touched.length
  }

  touch(item: number): void {
    this.#touched.push(item)
  }

  takeTouched(): readonly number[] {
    const touched = this.#touched
    this.#touched = []
    return touched
  }

  /** The new part begins with every row visible, so items hidden now are to be looked at. */
  #keepOf(part: IndexPart): Uint8Array {
    const { words, items } = part.columns
    const keep = new Uint8Array(Math.ceil(part.rows / 8))
    for (let row = 0; row < part.rows; row++) {
      const word = words[row]!
      if (isGarbage(word)) continue
      keep[row >>> 3]! |= 1 << (row & 7)
      if (word !== 0 && standingOf(word) === 'hidden') this.#touched.push(items[row]!)
    }
    return keep
  }
}
