import { closeSync, openSync, read, readSync } from 'node:fs'
import { promisify } from 'node:util'
import { FreshetError } from '../../schemas/errors.ts'
import type { ShardFiles } from '../files/shard-files.ts'
import { asStorageError } from '../files/storage-errors.ts'
import type { SavedFile } from '../segments/segment.ts'
import { ItemLogWriter } from './item-log-writer.ts'
import { lengthAt, type RecordSpan, requireIntact } from './item-record.ts'

/** The item log as manifests name it: files in the order written. The last one may have grown since. */
export interface SavedItemLog {
  readonly files: readonly SavedFile[]
}

const fileHeader = Buffer.from('FRSHITEM\x01\0\0\0\0\0\0\0', 'latin1')
/** Read at once when a file is walked: about 1 ms of decoding. */
const blockBytes = 1 << 18
/** A place is one number: that of the file times this, plus the offset in it. */
const fileSpan = 2 ** 32

const readAsync = promisify(read)

/** A record and where it lies in the log. */
export interface LogRecord extends RecordSpan {
  readonly place: number
}

/**
 * Records in numbered files, only ever appended; see ItemLogWriter for how they reach the disk. The oldest file is
 * given up once what is needed of it was appended again: it stays in the directory for the manifests that name it.
 */
export class ItemLog {
  readonly #files: ShardFiles
  readonly #fileBytes: number
  readonly #writer: ItemLogWriter
  /** What a former run saved, by number; of files given up since too, which a flush on its way may name. */
  readonly #saved: ReadonlyMap<number, SavedFile>
  /** Numbers of the files in use, oldest first; the last one is appended to once anything was appended. */
  readonly #numbers: number[]
  readonly #descriptors = new Map<number, number>()
  #sealedBytes = 0

  private constructor(
    files: ShardFiles,
    saved: Map<number, SavedFile>,
    options: { readonly next: number; readonly fileBytes: number },
  ) {
    this.#files = files
    this.#fileBytes = options.fileBytes
    this.#writer = new ItemLogWriter(files, options.next, nameOf)
    this.#saved = saved
    this.#numbers = [...saved.keys()]
    for (const { bytes } of saved.values()) this.#sealedBytes += bytes
  }

  /**
   * Verifies what was saved, then goes on in a file of its own. A file that has `fileBytes` is full.
   * @throws FreshetError `checkpoint-corrupt` when a file is not what was saved; `data-format`; storage codes
   */
  static async open(files: ShardFiles, saved: SavedItemLog | null, fileBytes: number): Promise<ItemLog> {
    const byNumber = new Map<number, SavedFile>()
    for (const file of saved?.files ?? []) {
      await verify(files, file)
      byNumber.set(numberOf(file.file), file)
    }
    const used = (await files.list()).map(numberOf)
    return new ItemLog(files, byNumber, { next: Math.max(0, ...used, ...byNumber.keys()) + 1, fileBytes })
  }

  /** Bytes of the files in use, with what is not written yet. */
  get bytes(): number {
    return this.#sealedBytes + this.#writer.end.bytes
  }

  get memoryBytes(): number {
    return this.#writer.memoryBytes
  }

  /** Of the files in use, oldest first. */
  get numbers(): readonly number[] {
    return this.#numbers
  }

  /** Names of the files in use. */
  get fileNames(): string[] {
    return this.#numbers.map(nameOf)
  }

  /** Why what was appended cannot be written; null when it can. */
  get failure(): unknown {
    return this.#writer.failure
  }

  /** Returns the place of the record. */
  append(record: Uint8Array): number {
    const { bytes } = this.#writer.end
    if (bytes > fileHeader.length && bytes + record.length > this.#fileBytes) this.#roll()
    if (this.#writer.end.bytes === 0) this.#begin()
    const { file, bytes: at } = this.#writer.end
    this.#writer.append(record)
    return file * fileSpan + at
  }

  /** Whether the place lies in a file in use. */
  holds(place: number): boolean {
    return this.#numbers.includes(Math.floor(place / fileSpan))
  }

  /**
   * The record of so many bytes at that place.
   * @throws FreshetError `checkpoint-corrupt` when it is not what was written; `storage-failed`
   */
  read(place: number, bytes: number): RecordSpan {
    const file = Math.floor(place / fileSpan)
    const at = place % fileSpan
    const block = this.#writer.unwritten(file, at) ?? this.#readFile(file, at, bytes)
    const record = { block, from: 0, to: bytes }
    requireIntact(record)
    return record
  }

  /** Resolves once at most so many bytes wait to be written; tries again what failed. @throws storage codes */
  settle(maxBytes: number): Promise<void> {
    return this.#writer.settle(maxBytes)
  }

  /** Makes everything appended before the call durable and names it. @throws storage codes */
  async flush(): Promise<SavedItemLog> {
    const numbers = [...this.#numbers]
    const newest = await this.#writer.flush()
    return { files: numbers.map(number => (newest?.file === nameOf(number) ? newest : this.#sealedFile(number))) }
  }

  /** The oldest file, sealed now when it is the one appended to. @throws FreshetError `internal` when there is none */
  oldest(): number {
    if (this.#numbers.length === 1 && this.#writer.end.bytes > 0) this.#roll()
    const [oldest] = this.#numbers
    if (oldest === undefined) throw new FreshetError('internal', 'the item log is empty')
    return oldest
  }

  /**
   * The records of a sealed file in order, in blocks with a turn of the event loop between; valid until the next one.
   * @throws FreshetError `checkpoint-corrupt` when the bytes do not fall into records
   */
  async *walk(number: number): AsyncGenerator<readonly LogRecord[], void, undefined> {
    await this.#writer.finishBelow(number + 1)
    const { bytes } = this.#sealedFile(number)
    for (let at = fileHeader.length; at < bytes; ) {
      const block = await this.#readBlock(number, at, bytes)
      const records: LogRecord[] = []
      let used = 0
      for (let length = lengthAt(block, used); used + length <= block.length; length = lengthAt(block, used)) {
        records.push({ place: number * fileSpan + at + used, block, from: used, to: used + length })
        used += length
      }
      if (used === 0) throw damaged(nameOf(number))
      yield records
      at += used
    }
  }

  /** Nothing of the oldest file is needed any more. */
  dropOldest(): void {
    const number = this.#numbers.shift()!
    this.#sealedBytes -= this.#sealedFile(number).bytes
    const descriptor = this.#descriptors.get(number)
    this.#descriptors.delete(number)
    if (descriptor !== undefined) closeSync(descriptor)
  }

  async close(): Promise<void> {
    await this.#writer.close()
    for (const descriptor of this.#descriptors.values()) closeSync(descriptor)
    this.#descriptors.clear()
  }

  #begin(): void {
    this.#numbers.push(this.#writer.end.file)
    this.#writer.append(fileHeader)
  }

  #roll(): void {
    this.#sealedBytes += this.#writer.end.bytes
    this.#writer.roll()
  }

  #sealedFile(number: number): SavedFile {
    const file = this.#saved.get(number) ?? this.#writer.sealed.get(number)
    if (file === undefined) throw new FreshetError('internal', `${nameOf(number)} is not sealed`)
    return file
  }

  /** A block that begins with a whole record. */
  async #readBlock(number: number, at: number, end: number): Promise<Buffer> {
    const block = await this.#readAsync(number, at, Math.min(blockBytes, end - at))
    const first = lengthAt(block, 0)
    if (first <= block.length) return block
    if (first > end - at) throw damaged(nameOf(number))
    return this.#readAsync(number, at, first)
  }

  async #readAsync(number: number, at: number, bytes: number): Promise<Buffer> {
    const block = Buffer.allocUnsafe(bytes)
    try {
      const descriptor = this.#descriptorOf(number)
      for (let filled = 0; filled < bytes; ) {
        const { bytesRead } = await readAsync(descriptor, block, filled, bytes - filled, at + filled)
        if (bytesRead === 0) throw damaged(nameOf(number))
        filled += bytesRead
      }
    } catch (thrown) {
      throw asStorageError(thrown, nameOf(number))
    }
    return block
  }

  #readFile(number: number, at: number, bytes: number): Buffer {
    const record = Buffer.allocUnsafe(bytes)
    try {
      const read = readSync(this.#descriptorOf(number), record, 0, bytes, at)
      if (read < bytes) throw damaged(nameOf(number))
    } catch (thrown) {
      throw asStorageError(thrown, nameOf(number))
    }
    return record
  }

  #descriptorOf(number: number): number {
    const known = this.#descriptors.get(number)
    if (known !== undefined) return known
    const descriptor = openSync(this.#files.path(nameOf(number)), 'r')
    this.#descriptors.set(number, descriptor)
    return descriptor
  }
}

async function verify(files: ShardFiles, saved: SavedFile): Promise<void> {
  let header: Buffer | null = null
  for await (const piece of files.pieces(saved, { mayBeLonger: true }))
    header ??= Buffer.from(piece.subarray(0, fileHeader.length))
  if (header === null || header.length < fileHeader.length) throw damaged(saved.file)
  if (!header.equals(fileHeader)) throw new FreshetError('data-format', `${saved.file} is not of the format read here`)
}

function nameOf(number: number): string {
  return `items-${number}`
}

/** Of any file that bears a number of the log, set aside ones too; 0 for others. */
function numberOf(file: string): number {
  return Number(/^items-(\d+)/.exec(file)?.[1] ?? 0)
}

function damaged(file: string): FreshetError {
  return new FreshetError('checkpoint-corrupt', `${file} does not hold the records that were written`)
}
