import type { ClusteredData } from './clustered-data.ts'

export interface SuppliedRow {
  /** Number in the data set. */
  readonly row: number
  /** f16. */
  readonly vectors: Uint8Array
}

/** Few, because making them holds up whatever else the thread does. */
const blockRows = 100

/** Rows of the data set one after another, made in blocks. */
export class RowSupply {
  readonly #data: ClusteredData
  #encoded: Uint8Array = new Uint8Array(0)
  #at = 0
  #next: number

  constructor(data: ClusteredData, nextRow: number) {
    this.#data = data
    this.#next = nextRow
  }

  get nextRow(): number {
    return this.#next
  }

  /** Makes the next rows now. */
  prepare(rows: number): void {
    this.#encoded = this.#data.block(this.#next, rows).encoded
    this.#at = 0
  }

  next(): SuppliedRow {
    if (this.#at === this.#encoded.length) this.prepare(blockRows)
    const vectors = this.#encoded.slice(this.#at, this.#at + 2 * this.#data.dims)
    this.#at += vectors.length
    return { row: this.#next++, vectors }
  }
}
