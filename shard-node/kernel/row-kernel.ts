import type { RowColumns } from './row-memory.ts'

/** Which rows a scan may return. */
export interface ScanScope {
  /** Rows from..to, exclusive. */
  readonly from: number
  readonly to: number
  /** Snapshot: see `visibility`. */
  readonly sequence: number
  /** Looks at the bitmap given to `allow`. */
  readonly filtered: boolean
}

/** Rows chosen by a scan, in scratch memory: valid until the next call of the same kernel. */
export interface ScannedRows {
  readonly rows: Uint32Array
  /** Hamming distance of each to the query's code. */
  readonly distances: Uint32Array
}

/**
 * The inner loops over one block of row memory, for one thread. Implemented in WebAssembly, and in plain TypeScript
 * as the twin that tests hold the other against: both give the same bits. Queries and means are known by identity: the contents of
 * an array never change after it was given.
 */
export interface RowKernel {
  readonly columns: RowColumns
  /** Takes the query (f32, dims) and its code against `mean`. Before any scan or score. */
  prepare(query: Float32Array, mean: Float32Array): void
  /** Copies the bits of items below `shape.items` for filtered scans; items beyond the end of `bits` are not allowed. */
  allow(bits: Uint32Array): void
  /**
   * The `want` (1 to `scratchRows`) visible, allowed rows nearest by code, plus those as near as the last of them, the
   * first ones when they would be more than `scratchRows` together. In the order of the rows. All when there are fewer.
   */
  scan(scope: ScanScope, want: number): ScannedRows
  /** As `scan`, of the given rows only (each below capacity), and in the order given. */
  scanRows(rows: Uint32Array, options: { readonly sequence: number; readonly want: number }): ScannedRows
  /**
   * Dot product of the query with the f16 vector of each row, f32, summed in a fixed order. At most `scratchRows` rows.
   * Scratch memory: valid until the next call.
   */
  score(rows: Uint32Array): Float32Array
  /** The same for rows from..to, at most `scratchRows` of them. */
  scoreRange(from: number, to: number): Float32Array
  /** Writes the codes of rows from..to from their vectors. */
  encode(from: number, to: number, mean: Float32Array): void
}
