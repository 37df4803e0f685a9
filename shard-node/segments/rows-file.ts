import { FreshetError } from '../../schemas/errors.ts'
import type { NewFile, ShardFiles } from '../files/shard-files.ts'
import { columnsOf, createRowMemory, type RowColumns, type RowMemoryHandle } from '../kernel/row-memory.ts'
import type { SavedRows } from './segment.ts'

const magic = 'FRSHROW2'
const format = 1
const headerBytes = 64
const alignmentBytes = 64
const orders = ['log', 'item'] as const
const vectorBytesAtOnce = 1 << 20

/** Rows as they lie in memory; hosts are little-endian, as everything usearch is built for. */
export interface RowsToWrite {
  readonly order: SavedRows['order']
  /** The first so many of the columns. */
  readonly rows: number
  readonly columns: Pick<RowColumns, 'codes' | 'items' | 'objects' | 'halves'>
  /** Mean the codes are centred on. */
  readonly mean: Float32Array
  /** By row; or that of the first, when they have no gaps. */
  readonly ordinals: number | Float64Array
  /** Item numbers lie below. */
  readonly items: number
}

export interface ReadRowsOptions {
  /** Threads that may search the rows. */
  readonly threads: number
  /** Items that filters may name; at least those of the rows. */
  readonly itemsCapacity?: number
  /** False: vectors are verified and stay on disk. */
  readonly vectors: boolean
}

export interface RowsInMemory {
  readonly memory: RowMemoryHandle
  /** Visibility words are all 0. */
  readonly columns: RowColumns
  readonly mean: Float32Array
  readonly ordinals: Float64Array
}

/** What tells rows apart; by row. */
export interface RowNumbers {
  readonly ordinals: Float64Array
  readonly items: Uint32Array
  readonly objects: Uint8Array
}

export function rowsFileName(id: number): string {
  return `rows-${id}`
}

/** Writes `rows-<id>` (FORMAT.md, "rows"). The rows may lie in shared memory; they must not change meanwhile. */
export async function writeRows(files: ShardFiles, id: number, source: RowsToWrite): Promise<SavedRows> {
  const file = await files.create(rowsFileName(id))
  try {
    const described = describe(source)
    await writeColumns(file, source, described)
    return { ...(await file.finish()), ...described }
  } catch (thrown) {
    await file.abandon()
    throw thrown
  }
}

/**
 * Reads rows into a row memory of their own.
 * @throws FreshetError `checkpoint-corrupt` when the file is missing, damaged, or not what the manifest says
 */
export async function readRows(files: ShardFiles, saved: SavedRows, options: ReadRowsOptions): Promise<RowsInMemory> {
  const { rows, dims } = saved
  const items = Math.ceil(Math.max(saved.items, options.itemsCapacity ?? 0, 1) / 32) * 32
  const { threads, vectors } = options
  const memory = createRowMemory({ dims, capacity: rows, items, vectors, threads })
  const columns = columnsOf(memory)
  const mean = new Float32Array(dims)
  const ordinals = await readColumns(files, saved, { ...columns, mean })
  return { memory, columns, mean, ordinals }
}

/** Reads all but codes and vectors, and verifies the whole file. */
export async function readRowNumbers(files: ShardFiles, saved: SavedRows): Promise<RowNumbers> {
  const items = new Uint32Array(saved.rows)
  const objects = new Uint8Array(saved.rows)
  return { ordinals: await readColumns(files, saved, { items, objects }), items, objects }
}

/**
 * The vectors of rows that were verified before, in the order of the file: `take` is called with consecutive rows, the
 * number of the first and their halves, which are valid until it returns.
 */
export async function readVectors(
  files: ShardFiles,
  saved: SavedRows,
  take: (first: number, halves: Uint16Array) => void,
): Promise<void> {
  const rowBytes = 2 * saved.dims
  const rowsAtOnce = Math.floor(vectorBytesAtOnce / rowBytes)
  for (let first = 0; first < saved.rows; first += rowsAtOnce) {
    const bytes = new Uint8Array(Math.min(rowsAtOnce, saved.rows - first) * rowBytes)
    await files.readAt(saved, { at: saved.vectorsAt + first * rowBytes, into: bytes })
    take(first, new Uint16Array(bytes.buffer))
  }
}

type Description = Omit<SavedRows, 'file' | 'bytes' | 'crc32'>

interface ColumnPlaces {
  readonly ordinals: number
  readonly items: number
  readonly objects: number
  readonly mean: number
  readonly codes: number
  readonly vectors: number
  readonly end: number
}

function placesOf({ rows, dims }: { readonly rows: number; readonly dims: number }): ColumnPlaces {
  const behind = (start: number, bytes: number): number => Math.ceil((start + bytes) / alignmentBytes) * alignmentBytes
  const ordinals = headerBytes
  const items = behind(ordinals, 8 * rows)
  const objects = behind(items, 4 * rows)
  const mean = behind(objects, rows)
  const codes = behind(mean, 4 * dims)
  const vectors = behind(codes, (dims / 8) * rows)
  return { ordinals, items, objects, mean, codes, vectors, end: vectors + 2 * dims * rows }
}

function describe({ order, rows, mean, ordinals, items }: RowsToWrite): Description {
  const dims = mean.length
  const [firstOrdinal, lastOrdinal] =
    typeof ordinals === 'number' ? [ordinals, ordinals + rows - 1] : boundsOf(ordinals.subarray(0, rows))
  return { order, rows, dims, firstOrdinal, lastOrdinal, items, vectorsAt: placesOf({ rows, dims }).vectors }
}

function boundsOf(ordinals: Float64Array): [number, number] {
  let [first, last] = [Number.POSITIVE_INFINITY, 0]
  for (const ordinal of ordinals) {
    first = Math.min(first, ordinal)
    last = Math.max(last, ordinal)
  }
  return [first, last]
}

function encodeHeader(rows: Description): Buffer {
  const header = Buffer.alloc(headerBytes)
  header.write(magic, 0, 'latin1')
  header.writeUInt32LE(format, 8)
  header.writeUInt32LE(orders.indexOf(rows.order), 12)
  header.writeUInt32LE(rows.dims, 16)
  header.writeUInt32LE(rows.rows, 20)
  header.writeUInt32LE(rows.items, 24)
  header.writeBigUInt64LE(BigInt(rows.firstOrdinal), 32)
  header.writeBigUInt64LE(BigInt(rows.lastOrdinal), 40)
  header.writeBigUInt64LE(BigInt(rows.vectorsAt), 48)
  header.writeBigUInt64LE(BigInt(placesOf(rows).end), 56)
  return header
}

async function writeColumns(file: NewFile, source: RowsToWrite, described: Description): Promise<void> {
  const { rows, dims } = described
  const { columns, mean } = source
  const places = placesOf(described)
  const segments: readonly (readonly [at: number, bytes: Uint8Array])[] = [
    [0, encodeHeader(described)],
    [places.ordinals, bytesOf(encodeOrdinals(source))],
    [places.items, bytesOf(columns.items.subarray(0, rows))],
    [places.objects, columns.objects.subarray(0, rows)],
    [places.mean, bytesOf(mean)],
    [places.codes, columns.codes.subarray(0, (rows * dims) / 8)],
    [places.vectors, bytesOf(columns.halves.subarray(0, rows * dims))],
  ]
  let end = 0
  for (const [at, bytes] of segments) {
    if (at > end) await file.write(new Uint8Array(at - end))
    await file.write(bytes)
    end = at + bytes.length
  }
}

/** Fills the columns given, verifies the whole file and gives the ordinals. */
async function readColumns(
  files: ShardFiles,
  saved: SavedRows,
  columns: Partial<Pick<RowColumns, 'codes' | 'items' | 'objects' | 'halves'>> & { readonly mean?: Float32Array },
): Promise<Float64Array> {
  const places = placesOf(saved)
  if (saved.bytes !== places.end) throw foreign(saved)
  const header = new Uint8Array(headerBytes)
  const ordinals = new Uint32Array(passingBuffer(8 * saved.rows))
  const none = new Uint8Array(0)
  await files.readInto(saved, [
    { at: 0, into: header },
    { at: places.ordinals, into: bytesOf(ordinals) },
    { at: places.items, into: bytesOf(columns.items ?? none) },
    { at: places.objects, into: columns.objects ?? none },
    { at: places.mean, into: bytesOf(columns.mean ?? none) },
    { at: places.codes, into: columns.codes ?? none },
    { at: places.vectors, into: bytesOf(columns.halves ?? none) },
  ])
  if (!encodeHeader(saved).equals(header)) throw foreign(saved)
  return decodeOrdinals(ordinals)
}

function foreign(saved: SavedRows): FreshetError {
  return new FreshetError('checkpoint-corrupt', `${saved.file} does not hold the rows that the manifest says`)
}

/** Low and high half of each u64. */
function encodeOrdinals({ rows, ordinals }: RowsToWrite): Uint32Array {
  const halves = new Uint32Array(2 * rows)
  for (let row = 0; row < rows; row++) {
    const ordinal = typeof ordinals === 'number' ? ordinals + row : ordinals[row]!
    halves[2 * row] = ordinal
    halves[2 * row + 1] = ordinal / 2 ** 32
  }
  return halves
}

function decodeOrdinals(halves: Uint32Array): Float64Array {
  const ordinals = new Float64Array(passingBuffer(4 * halves.length))
  for (let row = 0; row < ordinals.length; row++) ordinals[row] = halves[2 * row]! + halves[2 * row + 1]! * 2 ** 32
  return ordinals
}

/**
 * For what is large and not kept: a buffer that may be resized has pages of its own, which go back to the system with
 * it; what the allocator is given back may stay with the process.
 */
function passingBuffer(bytes: number): ArrayBuffer {
  return new ArrayBuffer(bytes, { maxByteLength: bytes })
}

function bytesOf(numbers: Uint8Array | Uint16Array | Uint32Array | Float32Array): Uint8Array {
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength)
}
