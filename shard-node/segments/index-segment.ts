import { closeSync, openSync, readSync } from 'node:fs'
import { FreshetError } from '../../schemas/errors.ts'
import { decodeF16, norm } from '../../schemas/unit-vector.ts'
import type { ShardFiles } from '../files/shard-files.ts'
import { type RowColumns, type RowMemoryHandle, rowMemoryBytes } from '../kernel/row-memory.ts'
import { LogDirectory } from './log-directory.ts'
import { RowNorms } from './row-norms.ts'
import { isGarbage } from './row-word.ts'
import type { SavedGraph, SavedSegment, SegmentView } from './segment.ts'

export interface IndexSegmentOptions {
  readonly id: number
  readonly order: 'log' | 'item'
  readonly rows: number
  readonly firstOrdinal: number
  readonly memory: RowMemoryHandle
  readonly columns: RowColumns
  readonly mean: Float32Array
  /** The files that hold all of it; null: none yet. */
  readonly saved: SavedSegment | null
}

/** Lengths of so many of a saved segment's vectors stand for all of them. */
const sampledNorms = 256

/** A segment as its owner has it: the only one to write its visibility words. */
export class IndexSegment {
  readonly id: number
  readonly order: 'log' | 'item'
  readonly firstOrdinal: number
  readonly memory: RowMemoryHandle
  readonly columns: RowColumns
  readonly mean: Float32Array
  /** Of a log segment. */
  readonly #directory: LogDirectory | null
  norms = new RowNorms()
  /** The files that hold its rows; of the log segment that is being written maybe not all. */
  saved: SavedSegment | null
  /** Rows written; grows only in the log segment that is being written. */
  rows: number
  /** Rows of no current set. */
  garbage = 0

  constructor(options: IndexSegmentOptions) {
    this.id = options.id
    this.order = options.order
    this.firstOrdinal = options.firstOrdinal
    this.memory = options.memory
    this.columns = options.columns
    this.mean = options.mean
    this.saved = options.saved
    this.rows = options.rows
    this.#directory = options.order === 'log' ? new LogDirectory(options.columns) : null
  }

  get graph(): SavedGraph | null {
    return this.saved?.graph ?? null
  }

  /** Ordinals lie up to this one. */
  get lastOrdinal(): number {
    return this.order === 'log' ? this.firstOrdinal + this.rows - 1 : this.saved!.rows.lastOrdinal
  }

  /** Bytes of its memory and of its graph. */
  get memoryBytes(): number {
    return rowMemoryBytes(this.memory.shape) + (this.#directory?.memoryBytes ?? 0) + (this.graph?.bytes ?? 0)
  }

  get diskBytes(): number {
    return this.saved === null ? 0 : this.saved.rows.bytes + (this.saved.graph?.bytes ?? 0)
  }

  /** First row of the item's current set if it lies here; else -1. */
  rowOfCurrentSet(item: number): number {
    const row = this.#directory === null ? this.firstRowOf(item) : this.#directory.rowOf(item)
    return row >= 0 && !isGarbage(this.columns.words[row]!) ? row : -1
  }

  /** Of the set that begins at this row. */
  rowsOfSet(row: number): number {
    const { items, objects } = this.columns
    let count = 1
    while (row + count < this.rows && items[row + count] === items[row] && objects[row + count] === count) count++
    return count
  }

  /** A set has been written from this row on. */
  addSet(row: number, count: number): void {
    this.rows += count
    this.noteCurrentSet(row)
  }

  /** The set that begins at this row is its item's current one; of sets read from a file the registers say which are. */
  noteCurrentSet(row: number): void {
    this.#directory?.add(row)
  }

  /** First row of the item in a segment sorted by item; -1: none. */
  firstRowOf(item: number): number {
    const { items } = this.columns
    let low = 0
    let high = this.rows
    while (low < high) {
      const middle = (low + high) >>> 1
      if (items[middle]! < item) low = middle + 1
      else high = middle
    }
    return low < this.rows && items[low] === item ? low : -1
  }

  /**
   * Reads the file when the memory holds no vectors.
   * @throws FreshetError `storage-failed` when that fails
   */
  vectorAt(row: number, files: ShardFiles): Float32Array {
    const { dims, vectors } = this.memory.shape
    const { halves } = this.columns
    if (vectors) return decodeF16(new Uint8Array(halves.buffer, halves.byteOffset + row * dims * 2, dims * 2))
    const { file, vectorsAt } = this.saved!.rows
    return decodeF16(readBytes(files.path(file), vectorsAt + row * dims * 2, dims * 2))
  }

  /** Of a saved segment: a sample, because reading every vector takes longer than opening the segment. */
  sampleNorms(files: ShardFiles): void {
    const step = Math.max(1, Math.floor(this.rows / sampledNorms))
    for (let row = 0; row < this.rows; row += step) this.norms.add(norm(this.vectorAt(row, files)))
  }

  view(files: ShardFiles, rows: number): SegmentView {
    const { id, memory, order, mean, graph } = this
    return {
      id,
      memory,
      order,
      rows,
      mean,
      graph: graph === null ? null : { path: files.path(graph.file), size: graph.size },
      vectors: memory.shape.vectors
        ? null
        : { path: files.path(this.saved!.rows.file), at: this.saved!.rows.vectorsAt },
    }
  }
}

function readBytes(path: string, position: number, length: number): Uint8Array {
  const bytes = new Uint8Array(length)
  try {
    const file = openSync(path, 'r')
    try {
      if (readSync(file, bytes, 0, length, position) === length) return bytes
    } finally {
      closeSync(file)
    }
  } catch (cause) {
    throw new FreshetError('storage-failed', `a vector cannot be read from ${path}`, { cause })
  }
  throw new FreshetError('storage-failed', `${path} ends before a vector`)
}
