import { FreshetError } from '../../schemas/errors.ts'
import { decodeF16, norm } from '../../schemas/unit-vector.ts'
import { columnsOf, createRowMemory } from '../kernel/row-memory.ts'
import { WasmKernel } from '../kernel/wasm-kernel.ts'
import { IndexSegment } from './index-segment.ts'

export interface LogSegmentOptions {
  readonly id: number
  readonly dims: number
  readonly firstOrdinal: number
  /** Rows it has room for. */
  readonly capacity: number
  /** Items it has room for at least. */
  readonly items: number
  /** What codes are centred on. */
  readonly mean: Float32Array
  /** That search it. */
  readonly threads: number
}

/** Rows that a mean is taken of; fewer say little. */
const sampledRows = 1_000
/** `objects` counts a set's rows in a byte. */
const mostRows = 255

/** Writes the log segment that is being written: rows in the order they are put. */
export class LogSegment {
  readonly segment: IndexSegment
  readonly #options: LogSegmentOptions
  readonly #kernel: WasmKernel
  readonly #bytes: Uint8Array
  readonly #decoded: Float32Array

  constructor(options: LogSegmentOptions) {
    const { id, dims, firstOrdinal, capacity, items, mean, threads } = options
    this.#options = options
    const shape = { dims, capacity, items: Math.ceil(items / 32) * 32, vectors: true, threads: threads + 1 }
    const memory = createRowMemory(shape)
    const columns = columnsOf(memory)
    this.segment = new IndexSegment({ id, order: 'log', rows: 0, firstOrdinal, memory, columns, mean, saved: null })
    // The scratch area behind those of the search threads is the writer's.
    this.#kernel = new WasmKernel(memory, threads)
    this.#bytes = new Uint8Array(columns.halves.buffer, columns.halves.byteOffset, columns.halves.byteLength)
    this.#decoded = new Float32Array(dims)
  }

  /** Ordinal that the next row gets. */
  get nextOrdinal(): number {
    return this.segment.firstOrdinal + this.segment.rows
  }

  hasRoom(item: number, rows: number): boolean {
    const { capacity, items } = this.segment.memory.shape
    return this.segment.rows + rows <= capacity && item < items
  }

  /** Appends an item's set, each row with the visibility word; there is room. Returns the ordinal of its first row. */
  append(item: number, vectors: Uint8Array, word: number): number {
    const { columns, norms, memory, mean, rows: from } = this.segment
    const rowBytes = memory.shape.dims * 2
    const count = vectors.length / rowBytes
    const ordinal = this.nextOrdinal
    this.#bytes.set(vectors, from * rowBytes)
    for (let object = 0; object < count; object++) {
      columns.items[from + object] = item
      columns.objects[from + object] = object
      columns.words[from + object] = word
      norms.add(norm(decodeF16(vectors.subarray(object * rowBytes, (object + 1) * rowBytes), this.#decoded)))
    }
    this.#kernel.encode(from, from + count, mean)
    this.segment.addSet(from, count)
    return ordinal
  }

  /** Of an even sample of the rows; null while there are too few. */
  sampleMean(): Float32Array | null {
    const { rows } = this.segment
    if (rows < sampledRows) return null
    const { dims } = this.#options
    const sum = new Float64Array(dims)
    const step = Math.floor(rows / sampledRows)
    for (let i = 0; i < sampledRows; i++) {
      const at = i * step * dims * 2
      decodeF16(this.#bytes.subarray(at, at + dims * 2), this.#decoded)
      for (let d = 0; d < dims; d++) sum[d]! += this.#decoded[d]!
    }
    return Float32Array.from(sum, total => total / sampledRows)
  }

  /** The same rows again, with codes centred on another mean: searches under way go on with the codes they know. */
  copyCentred(id: number, mean: Float32Array): LogSegment {
    const copy = new LogSegment({ ...this.#options, id, mean })
    const { columns, rows, garbage, norms } = this.segment
    copy.#bytes.set(this.#bytes)
    copy.segment.columns.items.set(columns.items)
    copy.segment.columns.objects.set(columns.objects)
    copy.segment.columns.words.set(columns.words)
    for (let row = 0; row < rows; ) {
      const count = this.segment.rowsOfSet(row)
      copy.segment.addSet(row, count)
      row += count
    }
    copy.segment.garbage = garbage
    copy.segment.norms = norms
    copy.#kernel.encode(0, rows, mean)
    return copy
  }
}

/** @throws FreshetError `internal` when it is no whole number of rows, or more than a segment has room for */
export function rowsIn(vectors: Uint8Array, dims: number, capacity: number): number {
  const rows = vectors.length / (dims * 2)
  if (Number.isInteger(rows) && rows > 0 && rows <= Math.min(capacity, mostRows)) return rows
  throw new FreshetError('internal', `a set of ${vectors.length} bytes, rows are ${dims * 2}, at most ${capacity}`)
}
