import { open } from 'node:fs/promises'
import { join } from 'node:path'
import { FreshetError } from '../schemas/errors.ts'
import type { SavedRows } from './checkpoint-manifest.ts'
import type { FrozenRows, RowStore } from './row-store.ts'
import { HashedWriter, readVerified } from './sealed-file.ts'
import type { TailedRows } from './tailed-rows.ts'

const magic = 'FRSHROWS'
const format = 1
const headerBytes = 40
const rowsPerWrite = 2048

/** Numbers of a rows file besides its vectors. Arrays are by row. */
export interface RowsHeader {
  readonly first: number
  readonly next: number
  readonly items: Uint32Array
  /** Ordinal of the row, less `first`. */
  readonly places: Uint32Array
  readonly objects: Uint8Array
}

/** What a rows file says of the rows to be written, taken at one moment. */
export function rowsHeader(frozen: FrozenRows, tailed: TailedRows): RowsHeader {
  const { first, next } = tailed
  const places = Uint32Array.from(frozen.slots, slot => tailed.ordinalOf(slot) - first)
  return { first, next, items: frozen.items, places, objects: frozen.objects }
}

/** Writes the frozen rows (FORMAT.md, "rows") and makes them durable; searches go on between the blocks. */
export async function writeRows(
  path: { readonly directory: string; readonly file: string },
  store: RowStore,
  frozen: FrozenRows,
  header: RowsHeader,
): Promise<SavedRows> {
  const handle = await open(join(path.directory, path.file), 'w')
  try {
    const writer = new HashedWriter(handle)
    await writer.write(encodeHeader(header, store.dims))
    for (let at = 0; at < frozen.slots.length; at += rowsPerWrite) {
      const slots = frozen.slots.subarray(at, at + rowsPerWrite)
      const block = new Uint16Array(slots.length * store.dims)
      slots.forEach((slot, i) => {
        block.set(store.halvesOf(slot), i * store.dims)
      })
      await writer.write(new Uint8Array(block.buffer))
    }
    await handle.sync()
    return { file: path.file, count: frozen.slots.length, ...writer.written() }
  } finally {
    await handle.close()
  }
}

/**
 * Reads a rows file into `store`, which is empty: row i of the file lies in slot i.
 * @throws FreshetError `checkpoint-corrupt`; the store is then to be thrown away
 */
export async function readRows(directory: string, saved: SavedRows, store: RowStore): Promise<RowsHeader> {
  const content = await readVerified(directory, saved)
  const header = decodeHeader(content, saved.count, store.dims)
  const vectors = headerBytes + saved.count * 9
  for (let row = 0; row < saved.count; row++)
    store.allocate(header.items[row]!, header.objects[row]!, content, vectors + row * store.dims * 2)
  return header
}

/** The arrays are written as they lie in memory: hosts are little-endian, as everything usearch is built for. */
function encodeHeader(header: RowsHeader, dims: number): Uint8Array {
  const fixed = Buffer.alloc(headerBytes)
  fixed.write(magic, 0, 'latin1')
  fixed.writeUInt32LE(format, 8)
  fixed.writeUInt32LE(dims, 12)
  fixed.writeBigUInt64LE(BigInt(header.items.length), 16)
  fixed.writeBigUInt64LE(BigInt(header.first), 24)
  fixed.writeBigUInt64LE(BigInt(header.next), 32)
  return Buffer.concat([fixed, bytesOf(header.items), bytesOf(header.places), header.objects])
}

function decodeHeader(content: Uint8Array, count: number, dims: number): RowsHeader {
  const fixed = Buffer.from(content.buffer, content.byteOffset, Math.min(headerBytes, content.byteLength))
  const fits =
    content.length === headerBytes + count * (9 + dims * 2) &&
    fixed.toString('latin1', 0, 8) === magic &&
    fixed.readUInt32LE(8) === format &&
    fixed.readUInt32LE(12) === dims &&
    fixed.readBigUInt64LE(16) === BigInt(count)
  if (!fits)
    throw new FreshetError('checkpoint-corrupt', `the rows file does not hold ${count} rows of ${dims} dimensions`)
  const numbers = new Uint32Array(content.slice(headerBytes, headerBytes + count * 8).buffer)
  return {
    first: Number(fixed.readBigUInt64LE(24)),
    next: Number(fixed.readBigUInt64LE(32)),
    items: numbers.subarray(0, count),
    places: numbers.subarray(count),
    objects: content.slice(headerBytes + count * 8, headerBytes + count * 9),
  }
}

function bytesOf(numbers: Uint32Array): Uint8Array {
  return new Uint8Array(numbers.buffer, numbers.byteOffset, numbers.byteLength)
}
