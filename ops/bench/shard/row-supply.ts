import type { ClusteredData, VectorBlock } from './clustered-data.ts'

export interface SuppliedRow {
  /** Number in the data set. */
  readonly row: number
  /** f16. */
  readonly vectors: Uint8Array
}

const blockRows = 1_000

/** Rows of the data set one after another, made in blocks. */
export class RowSupply {
  readonly #data: ClusteredData
  #block: VectorBlock | null = null
  #blockFirst: number
  #next: number

  constructor(data: ClusteredData, nextRow: number) {
    this.#data = data
    this.#blockFirst = nextRow
    this.#next = nextRow
  }

  get nextRow(): number {
    return this.#next
  }

  /** Makes the next rows now. */
  prepare(rows: number): void {
    this.#blockFirst = this.#next
    this.#block = this.#data.block(this.#next, rows)
  }

  next(): SuppliedRow {
    if (this.#block === null || this.#next >= this.#blockFirst + this.#block.count) this.prepare(blockRows)
    const rowBytes = 2 * this.#data.dims
    const at = (this.#next - this.#blockFirst) * rowBytes
    return { row: this.#next++, vectors: this.#block!.encoded.slice(at, at + rowBytes) }
  }
}
