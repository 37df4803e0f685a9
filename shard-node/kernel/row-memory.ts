import { FreshetError } from '../../schemas/errors.ts'

/** What a block of row memory is made for. */
export interface RowShape {
  /** A multiple of 8, at most 1,024. */
  readonly dims: number
  /** Rows it has room for. */
  readonly capacity: number
  /** Item numbers in it are below this; a multiple of 32. Sizes the bitmap a filter is copied into. */
  readonly items: number
  /** False: only codes are held, the vectors lie on disk. */
  readonly vectors: boolean
  /** Threads that may search it, each with a scratch area of its own. */
  readonly threads: number
}

/** What another thread needs to use the same memory. */
export interface RowMemoryHandle {
  readonly shape: RowShape
  readonly memory: WebAssembly.Memory
}

/**
 * Whether a row is seen, as one u32 per row that the owner writes and searches read. A search of snapshot s sees a row
 * of word w when
 * | w             | meaning                     | seen            | kept by compaction |
 * | 0             | visible                     | always          | yes |
 * | bit 31 + born | shown at sequence `born`    | s >= born       | yes |
 * | bit 30 + hid  | hidden at sequence `hid`    | s < hid         | yes |
 * | died          | replaced or removed then    | s < died        | no  |
 * Sequences are 1 to 2^30 - 1; before they run out the owner writes 0, bit 30 + 0 or 1 in their place while no search
 * runs.
 */
export const visibility = { bornBit: 0x80000000, hiddenBit: 0x40000000, sequenceMask: 0x3fffffff } as const

/**
 * Columns of rows in one shared WebAssembly memory (under 4 GiB), so that the kernel reads them in place and every
 * thread sees what the owner writes. Row r of all columns belongs together.
 */
export interface RowColumns {
  readonly shape: RowShape
  /** 1-bit codes, dims / 8 bytes each: bit i is set when component i is larger than the mean's. */
  readonly codes: Uint8Array
  readonly items: Uint32Array
  /** Which of the item's objects. */
  readonly objects: Uint8Array
  /** See `visibility`. */
  readonly words: Uint32Array
  /** f16 vectors, dims halves each; empty when the shape has no vectors. */
  readonly halves: Uint16Array
}

/** Byte offsets of one thread's scratch area: where a kernel takes its input from and leaves its output. */
export interface ScratchLayout {
  /** f32 × dims, in an order of the kernel's own. */
  readonly query: number
  /** f32 × dims. */
  readonly mean: number
  /** Code of the query. */
  readonly code: number
  /** u32 × `scratchRows`: rows to scan or score. */
  readonly input: number
  /** u32 each, rows found and their distances: twice what is kept, so that tightening is rare, and one block. */
  readonly found: number
  readonly distances: number
  /** f32 × `scratchRows`. */
  readonly scores: number
  /** u32 × (dims + 1): rows found by distance. */
  readonly histogram: number
  /** Bitmap of `shape.items` bits. */
  readonly allowed: number
}

/** Byte offsets of the columns. */
export interface ColumnLayout {
  readonly codes: number
  readonly items: number
  readonly words: number
  readonly objects: number
  readonly halves: number
}

/** Most rows that one call of a kernel takes or gives. */
export const scratchRows = 8_192

/** Rows that a scan adds before it looks whether they are too many. */
const scanBlockRows = 128

const pageBytes = 65_536
/** WebAssembly addresses are 32 bits; the last page is left out, so that the end of a column is an address too. */
const pagesLimit = 65_535
/** A cache line: no column shares one with another. */
const alignmentBytes = 64

/**
 * Memory for `shape.capacity` rows, all zero. Pages never written cost nothing.
 * @throws FreshetError `internal` for a shape that no memory can have
 */
export function createRowMemory(shape: RowShape): RowMemoryHandle {
  checkShape(shape)
  const pages = pagesOf(shape)
  if (pages > pagesLimit) {
    throw new FreshetError('internal', `${shape.capacity} rows of ${shape.dims} dimensions do not fit in 4 GiB`)
  }
  return { shape, memory: new WebAssembly.Memory({ initial: pages, maximum: pages, shared: true }) }
}

/** Bytes of address space: what is resident once every row and every thread's scratch area has been written. */
export function rowMemoryBytes(shape: RowShape): number {
  return pagesOf(shape) * pageBytes
}

export function columnsOf({ shape, memory: { buffer } }: RowMemoryHandle): RowColumns {
  const { dims, capacity, vectors } = shape
  const { codes, items, words, objects, halves } = columnLayout(shape)
  return {
    shape,
    codes: new Uint8Array(buffer, codes, (capacity * dims) / 8),
    items: new Uint32Array(buffer, items, capacity),
    objects: new Uint8Array(buffer, objects, capacity),
    words: new Uint32Array(buffer, words, capacity),
    halves: new Uint16Array(buffer, halves, vectors ? capacity * dims : 0),
  }
}

export function scratchLayout(shape: RowShape, thread: number): ScratchLayout {
  return placed(scratchSizes(shape), thread * scratchBytes(shape)).offsets
}

export function columnLayout(shape: RowShape): ColumnLayout {
  return placed(columnSizes(shape), shape.threads * scratchBytes(shape)).offsets
}

function scratchSizes({ dims, items }: RowShape): Readonly<Record<keyof ScratchLayout, number>> {
  return {
    query: 4 * dims,
    mean: 4 * dims,
    code: dims / 8,
    input: 4 * scratchRows,
    found: 4 * (2 * scratchRows + scanBlockRows),
    distances: 4 * (2 * scratchRows + scanBlockRows),
    scores: 4 * scratchRows,
    histogram: 4 * (dims + 1),
    allowed: items / 8,
  }
}

function columnSizes({ dims, capacity, vectors }: RowShape): Readonly<Record<keyof ColumnLayout, number>> {
  return {
    codes: (capacity * dims) / 8,
    items: 4 * capacity,
    words: 4 * capacity,
    objects: capacity,
    halves: vectors ? 2 * capacity * dims : 0,
  }
}

function scratchBytes(shape: RowShape): number {
  return placed(scratchSizes(shape), 0).end
}

function pagesOf(shape: RowShape): number {
  return Math.ceil(placed(columnSizes(shape), shape.threads * scratchBytes(shape)).end / pageBytes)
}

/** Lays areas of the given sizes one after another. */
function placed<Name extends string>(
  sizes: Readonly<Record<Name, number>>,
  from: number,
): { readonly offsets: Record<Name, number>; readonly end: number } {
  const offsets: Record<Name, number> = { ...sizes }
  let end = from
  for (const name of Object.keys(sizes) as Name[]) {
    offsets[name] = end
    end = Math.ceil((end + sizes[name]) / alignmentBytes) * alignmentBytes
  }
  return { offsets, end }
}

function checkShape({ dims, capacity, items, threads }: RowShape): void {
  const whole = [dims, capacity, items, threads].every(n => Number.isSafeInteger(n) && n >= 0)
  if (!whole || dims < 8 || dims > 1_024 || dims % 8 !== 0 || items % 32 !== 0) {
    throw new FreshetError('internal', `no row memory of shape ${JSON.stringify({ dims, capacity, items, threads })}`)
  }
}
