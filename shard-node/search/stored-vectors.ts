import { closeSync, openSync, readSync } from 'node:fs'
import { FreshetError } from '../../schemas/errors.ts'
import type { RowKernel } from '../kernel/row-kernel.ts'
import { createRowMemory } from '../kernel/row-memory.ts'
import { WasmKernel } from '../kernel/wasm-kernel.ts'
import type { SegmentView } from '../segments/segment.ts'

/** Vectors read at a time: 512 KiB at 256 dimensions, one for each thread. */
const rowsAtOnce = 1_024
const noMean = (dims: number): Float32Array => new Float32Array(dims)

/** Where vectors from disk are put to be compared with a query. One per thread. */
export class VectorScratch {
  readonly kernel: RowKernel
  readonly bytes: Uint8Array
  readonly #mean: Float32Array

  constructor(dims: number) {
    const handle = createRowMemory({ dims, capacity: rowsAtOnce, items: 32, vectors: true, threads: 1 })
    this.kernel = new WasmKernel(handle, 0)
    this.#mean = noMean(dims)
    const { buffer, byteOffset, byteLength } = this.kernel.columns.halves
    this.bytes = new Uint8Array(buffer, byteOffset, byteLength)
  }

  prepare(query: Float32Array): void {
    this.kernel.prepare(query, this.#mean)
  }
}

/** Vectors of a segment whose memory holds codes only, read from its file by position. */
export class StoredVectors {
  readonly #file: number
  readonly #at: number
  readonly #vectorBytes: number
  readonly #scratch: VectorScratch

  /** @throws FreshetError `storage-failed` */
  constructor({ path, at }: NonNullable<SegmentView['vectors']>, dims: number, scratch: VectorScratch) {
    this.#file = reading(() => openSync(path, 'r'))
    this.#at = at
    this.#vectorBytes = dims * 2
    this.#scratch = scratch
  }

  prepare(query: Float32Array): void {
    this.#scratch.prepare(query)
  }

  /** As of `RowKernel`. @throws FreshetError `storage-failed` */
  score(rows: Uint32Array): Float32Array {
    return this.#inSlices(rows.length, (from, to) => {
      for (let i = from; i < to; i++) this.#read(rows[i]!, 1, i - from)
    })
  }

  /** As of `RowKernel`. @throws FreshetError `storage-failed` */
  scoreRange(first: number, end: number): Float32Array {
    return this.#inSlices(end - first, (from, to) => this.#read(first + from, to - from, 0))
  }

  close(): void {
    closeSync(this.#file)
  }

  #inSlices(rows: number, read: (from: number, to: number) => void): Float32Array {
    const scores = new Float32Array(rows)
    for (let from = 0; from < rows; from += rowsAtOnce) {
      const to = Math.min(from + rowsAtOnce, rows)
      read(from, to)
      scores.set(this.#scratch.kernel.scoreRange(0, to - from), from)
    }
    return scores
  }

  /** Reads `count` vectors from `row` on to the given place in scratch. */
  #read(row: number, count: number, place: number): void {
    const length = count * this.#vectorBytes
    const position = this.#at + row * this.#vectorBytes
    const read = reading(() => readSync(this.#file, this.#scratch.bytes, place * this.#vectorBytes, length, position))
    if (read !== length)
      throw new FreshetError('storage-failed', `the vectors of a segment end before row ${row + count}`)
  }
}

function reading<Result>(read: () => Result): Result {
  try {
    return read()
  } catch (cause) {
    throw new FreshetError('storage-failed', 'vectors could not be read', { cause })
  }
}
