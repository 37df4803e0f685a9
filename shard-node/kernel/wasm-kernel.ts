import { readFileSync } from 'node:fs'
import { FreshetError } from '../../schemas/errors.ts'
import type { RowKernel, ScannedRows, ScanScope } from './row-kernel.ts'
import {
  columnLayout,
  columnsOf,
  type RowColumns,
  type RowMemoryHandle,
  scratchLayout,
  scratchRows,
} from './row-memory.ts'

/** What `assembly/kernel.ts` exports. Rows, counts and addresses are u32; those that come out arrive as i32. */
interface KernelExports {
  readonly useColumns: (dims: number, codes: number, items: number, words: number, halves: number) => void
  readonly useScratch: (...addresses: readonly number[]) => void
  readonly prepare: () => void
  readonly encode: (from: number, to: number) => void
  readonly startScan: (sequence: number, filtered: number, want: number) => void
  readonly scanRange: (from: number, to: number) => void
  readonly scanInput: (rows: number) => void
  readonly finishScan: () => number
  readonly scoreInput: (rows: number) => void
  readonly scoreRange: (from: number, to: number) => void
}

/** Compiled once per thread; each kernel is an instance with the addresses of its memory. */
const kernelModule = new WebAssembly.Module(readFileSync(new URL('kernel.wasm', import.meta.url)))

/**
 * The kernel of one thread on one row memory, in WebAssembly. No two may use the same scratch area. Methods throw
 * FreshetError `internal` for ranges and numbers out of bounds; rows that are listed one by one are not checked.
 */
export class WasmKernel implements RowKernel {
  readonly columns: RowColumns
  readonly #exports: KernelExports
  readonly #query: Float32Array
  readonly #mean: Float32Array
  readonly #input: Uint32Array
  readonly #found: Uint32Array
  readonly #distances: Uint32Array
  readonly #scores: Float32Array
  readonly #allowed: Uint32Array
  /** What scratch holds, by identity. */
  #preparedQuery: Float32Array | null = null
  #heldMean: Float32Array | null = null

  constructor(handle: RowMemoryHandle, thread: number) {
    const { shape, memory } = handle
    if (!(thread >= 0 && thread < shape.threads)) {
      throw new FreshetError('internal', `row memory for ${shape.threads} threads has no thread ${thread}`)
    }
    const at = scratchLayout(shape, thread)
    const columns = columnLayout(shape)
    this.columns = columnsOf(handle)
    this.#query = new Float32Array(memory.buffer, at.query, shape.dims)
    this.#mean = new Float32Array(memory.buffer, at.mean, shape.dims)
    this.#input = new Uint32Array(memory.buffer, at.input, scratchRows)
    this.#found = new Uint32Array(memory.buffer, at.found, scratchRows)
    this.#distances = new Uint32Array(memory.buffer, at.distances, scratchRows)
    this.#scores = new Float32Array(memory.buffer, at.scores, scratchRows)
    this.#allowed = new Uint32Array(memory.buffer, at.allowed, shape.items / 32)
    const instance = new WebAssembly.Instance(kernelModule, { env: { memory } })
    this.#exports = instance.exports as unknown as KernelExports
    this.#exports.useColumns(shape.dims, columns.codes, columns.items, columns.words, columns.halves)
    this.#exports.useScratch(
      at.query,
      at.mean,
      at.code,
      at.input,
      at.found,
      at.distances,
      at.scores,
      at.histogram,
      at.allowed,
    )
  }

  prepare(query: Float32Array, mean: Float32Array): void {
    this.#holdMean(mean)
    if (query === this.#preparedQuery) return
    this.#query.set(query)
    this.#exports.prepare()
    this.#preparedQuery = query
  }

  allow(bits: Uint32Array): void {
    const known = Math.min(bits.length, this.#allowed.length)
    this.#allowed.set(bits.subarray(0, known))
    this.#allowed.fill(0, known)
  }

  scan({ from, to, sequence, filtered }: ScanScope, want: number): ScannedRows {
    this.#checkRange(from, to)
    this.#startScan(sequence, filtered, want)
    this.#exports.scanRange(from, to)
    return this.#finishScan()
  }

  scanRows(rows: Uint32Array, { sequence, want }: { readonly sequence: number; readonly want: number }): ScannedRows {
    this.#startScan(sequence, false, want)
    for (let from = 0; from < rows.length; from += scratchRows) {
      const segment = rows.subarray(from, from + scratchRows)
      this.#input.set(segment)
      this.#exports.scanInput(segment.length)
    }
    return this.#finishScan()
  }

  score(rows: Uint32Array): Float32Array {
    this.#checkScorable(rows.length)
    this.#input.set(rows)
    this.#exports.scoreInput(rows.length)
    return this.#scores.subarray(0, rows.length)
  }

  scoreRange(from: number, to: number): Float32Array {
    this.#checkRange(from, to)
    this.#checkScorable(to - from)
    this.#exports.scoreRange(from, to)
    return this.#scores.subarray(0, to - from)
  }

  encode(from: number, to: number, mean: Float32Array): void {
    this.#checkRange(from, to)
    this.#checkVectors()
    this.#holdMean(mean)
    this.#exports.encode(from, to)
  }

  #holdMean(mean: Float32Array): void {
    if (mean === this.#heldMean) return
    this.#mean.set(mean)
    this.#heldMean = mean
    this.#preparedQuery = null
  }

  #startScan(sequence: number, filtered: boolean, want: number): void {
    if (!(want >= 1 && want <= scratchRows)) throw new FreshetError('internal', `a scan cannot keep ${want} rows`)
    this.#exports.startScan(sequence, filtered ? 1 : 0, want)
  }

  #finishScan(): ScannedRows {
    const kept = this.#exports.finishScan()
    return { rows: this.#found.subarray(0, kept), distances: this.#distances.subarray(0, kept) }
  }

  /** Outside of its memory the kernel would read another column, not fail. */
  #checkRange(from: number, to: number): void {
    if (!(from >= 0 && from <= to && to <= this.columns.shape.capacity)) {
      throw new FreshetError('internal', `rows ${from} to ${to} of ${this.columns.shape.capacity}`)
    }
  }

  #checkScorable(rows: number): void {
    if (rows > scratchRows) throw new FreshetError('internal', `${rows} rows to score at once`)
    this.#checkVectors()
  }

  #checkVectors(): void {
    if (!this.columns.shape.vectors) throw new FreshetError('internal', 'this row memory holds no vectors')
  }
}
