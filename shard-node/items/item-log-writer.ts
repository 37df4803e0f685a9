import { crc32 } from 'node:zlib'
import { FreshetError } from '../../schemas/errors.ts'
import type { ShardFiles } from '../files/shard-files.ts'
import type { SummedWriter } from '../files/summed-writer.ts'
import type { SavedFile } from '../segments/segment.ts'

/** Bytes appended before they are handed to the disk unasked. */
const chunkBytes = 1 << 18

export interface LogEnd {
  /** Number of the file. */
  readonly file: number
  readonly bytes: number
}

/** Appended bytes on their way to the disk, in memory until they are there. */
interface Chunk {
  readonly file: number
  readonly from: number
  readonly bytes: Buffer
  /** The file up to the end of the chunk, once written. */
  written: SavedFile | null
}

interface OpenFile {
  readonly number: number
  /** Up to where it is durable. */
  durable: SavedFile
  /** Null while it could not be opened. */
  writer: SummedWriter | null
  /** An fsync was refused: what lies behind `durable` may never reach the disk. */
  isUnsure: boolean
}

/**
 * Appends to numbered files, one at a time: into memory at once, to the disk in the background. A write that the disk
 * refused is kept and tried again by whoever waits for it next; until it succeeds `failure` says why it did not.
 */
export class ItemLogWriter {
  readonly #files: ShardFiles
  readonly #nameOf: (file: number) => string
  readonly #sealed = new Map<number, SavedFile>()
  readonly #waiting: Chunk[] = []
  #waitingBytes = 0
  #buffer = Buffer.allocUnsafe(chunkBytes)
  /** Bytes of `#buffer` in use, and where in the file it begins. */
  #used = 0
  #from = 0
  #file: number
  #newest: Chunk | null = null
  #open: OpenFile | null = null
  #turn: Promise<void> = Promise.resolve()
  #isBusy = false
  #isClosed = false
  #failure: unknown = null

  /** The first file is number `file`; it must not exist. */
  constructor(files: ShardFiles, file: number, nameOf: (file: number) => string) {
    this.#files = files
    this.#file = file
    this.#nameOf = nameOf
  }

  get end(): LogEnd {
    return { file: this.#file, bytes: this.#from + this.#used }
  }

  /** Whole files, durable, by number. */
  get sealed(): ReadonlyMap<number, SavedFile> {
    return this.#sealed
  }

  /** Why the last write failed; null when it did not. */
  get failure(): unknown {
    return this.#failure
  }

  get memoryBytes(): number {
    return this.#waitingBytes + this.#buffer.length
  }

  append(bytes: Uint8Array): void {
    if (this.#used + bytes.length > this.#buffer.length) {
      this.#seal()
      if (bytes.length > this.#buffer.length) this.#buffer = Buffer.allocUnsafe(bytes.length)
    }
    this.#buffer.set(bytes, this.#used)
    this.#used += bytes.length
  }

  /** What is appended from now on goes to the next file. */
  roll(): void {
    this.#seal()
    this.#file++
    this.#from = 0
  }

  /** What lies at that place and behind while it is not written yet, else null; valid until the next turn. */
  unwritten(file: number, at: number): Buffer | null {
    if (file === this.#file && at >= this.#from) return this.#buffer.subarray(at - this.#from, this.#used)
    for (const chunk of this.#waiting)
      if (chunk.file === file && at >= chunk.from && at < chunk.from + chunk.bytes.length)
        return chunk.bytes.subarray(at - chunk.from)
    return null
  }

  /** Resolves once at most so many bytes wait to be written and no write has failed. */
  async settle(maxBytes: number): Promise<void> {
    while (this.#waitingBytes > maxBytes || (this.#failure !== null && this.#waiting.length > 0))
      await this.#inTurn(() => this.#writeNext())
  }

  /** Resolves once all files below `file` are written and durable. */
  async finishBelow(file: number): Promise<void> {
    while ((this.#waiting[0]?.file ?? file) < file) await this.#inTurn(() => this.#writeNext())
    await this.#inTurn(async () => {
      if (this.#open !== null && this.#open.number < file) await this.#finish(this.#open)
    })
  }

  /**
   * Makes everything appended before the call durable; resolves to what that is of the file appended to, or to null
   * when nothing was appended since the start.
   */
  async flush(): Promise<SavedFile | null> {
    this.#seal()
    const last = this.#newest
    if (last === null) return null
    while (this.#isWaiting(last)) await this.#inTurn(() => this.#writeNext())
    await this.#inTurn(async () => {
      if (this.#open?.number === last.file) await this.#sync(this.#open)
    })
    return last.written
  }

  /** What is not written is lost; whoever waits for it is told `not-ready`. */
  async close(): Promise<void> {
    this.#isClosed = true
    await this.#inTurn(async () => {
      await this.#open?.writer?.close()
      this.#open = null
    })
  }

  #seal(): void {
    if (this.#used === 0) return
    const chunk = { file: this.#file, from: this.#from, bytes: this.#buffer.subarray(0, this.#used), written: null }
    this.#waiting.push(chunk)
    this.#waitingBytes += chunk.bytes.length
    this.#newest = chunk
    this.#from += this.#used
    this.#used = 0
    this.#buffer = Buffer.allocUnsafe(chunkBytes)
    if (!this.#isBusy) void this.#writeInBackground()
  }

  /** A refusal stays in `failure`, for whoever asks for the bytes. */
  async #writeInBackground(): Promise<void> {
    this.#isBusy = true
    await this.settle(0).catch(() => {})
    this.#isBusy = false
  }

  #isWaiting(chunk: Chunk): boolean {
    const next = this.#waiting[0]
    if (next === undefined) return false
    return next.file < chunk.file || (next.file === chunk.file && next.from <= chunk.from)
  }

  async #inTurn(step: () => Promise<void>): Promise<void> {
    const turn = this.#turn.then(step)
    this.#turn = turn.catch(() => {})
    await turn
  }

  async #writeNext(): Promise<void> {
    const chunk = this.#waiting[0]
    if (chunk === undefined) return
    if (this.#isClosed) throw new FreshetError('not-ready', 'the item log is closed')
    try {
      const writer = await this.#writerOf(chunk.file)
      await writer.write(chunk.bytes)
      chunk.written = writer.written
      this.#failure = null
    } catch (thrown) {
      this.#failure = thrown
      throw thrown
    }
    this.#waiting.shift()
    this.#waitingBytes -= chunk.bytes.length
  }

  async #writerOf(file: number): Promise<SummedWriter> {
    if (this.#open !== null && this.#open.number !== file) await this.#finish(this.#open)
    const durable = { file: this.#nameOf(file), bytes: 0, crc32: 0 }
    this.#open ??= { number: file, durable, writer: null, isUnsure: false }
    this.#open.writer ??= await this.#files.appendTo(this.#open.durable)
    return this.#open.writer
  }

  async #finish(file: OpenFile): Promise<void> {
    await this.#sync(file)
    await file.writer?.close()
    this.#sealed.set(file.number, file.durable)
    this.#open = null
  }

  async #sync(file: OpenFile): Promise<void> {
    if (file.isUnsure) await this.#writeAgain(file)
    if (file.writer === null) return
    try {
      file.durable = await file.writer.sync()
    } catch (thrown) {
      file.isUnsure = true
      throw thrown
    }
  }

  /**
   * After a refused fsync the system may hold pages as clean that never reached the disk, and the next fsync says
   * nothing about them. So they are read, compared with their checksum, and written once more.
   */
  async #writeAgain(file: OpenFile): Promise<void> {
    if (file.writer === null) return
    const { durable } = file
    const { written } = file.writer
    const bytes = (await this.#files.read(durable.file))?.subarray(durable.bytes, written.bytes)
    if (bytes === undefined || crc32(bytes, durable.crc32) !== written.crc32)
      throw new FreshetError('storage-failed', `${durable.file} lost what was written to it`)
    await file.writer.close()
    file.writer = null
    file.isUnsure = false
    this.#waiting.unshift({ file: file.number, from: durable.bytes, bytes, written: null })
    this.#waitingBytes += bytes.length
    await this.#writeNext()
  }
}
