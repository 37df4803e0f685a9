import { type FileHandle, open } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import { FreshetError } from '../../schemas/errors.ts'
import type { SavedFile } from '../segments/segment.ts'
import { asStorageError, damaged, errnoOf } from './storage-errors.ts'
import { pieceBytes } from './summed-writer.ts'

/** Reads a saved file from start to end, then says whether it is what was saved. */
export class SummedReader {
  readonly #handle: FileHandle
  readonly #saved: SavedFile
  readonly #scratch = new Uint8Array(pieceBytes)
  #at = 0
  #crc32 = 0

  private constructor(handle: FileHandle, saved: SavedFile) {
    this.#handle = handle
    this.#saved = saved
  }

  /**
   * A file that is being appended to may be longer than what was saved of it; others may not.
   * @throws FreshetError `checkpoint-corrupt` when it is missing or has another length
   */
  static async open(path: string, saved: SavedFile, options: { readonly mayBeLonger: boolean }): Promise<SummedReader> {
    const handle = await openExisting(path, saved)
    const { size } = await handle.stat()
    if (size === saved.bytes || (size > saved.bytes && options.mayBeLonger)) return new SummedReader(handle, saved)
    await handle.close()
    throw damaged(saved)
  }

  get at(): number {
    return this.#at
  }

  /** Of what was read so far. */
  get crc32(): number {
    return this.#crc32
  }

  /** Reads the next bytes into `target`, which may lie in shared memory. */
  async fill(target: Uint8Array): Promise<void> {
    for (let at = 0; at < target.length; at += pieceBytes) await this.#fillPiece(target.subarray(at, at + pieceBytes))
  }

  /** The next bytes up to `position`, at most a piece of them; valid until the next call. */
  async next(position = this.#saved.bytes): Promise<Uint8Array> {
    const piece = this.#scratch.subarray(0, Math.min(pieceBytes, position - this.#at))
    await this.#fillPiece(piece)
    return piece
  }

  async skipTo(position: number): Promise<void> {
    while (this.#at < position) await this.next(position)
  }

  /** Reads the rest. @throws FreshetError `checkpoint-corrupt` when the checksum is not the saved one */
  async finish(): Promise<void> {
    await this.skipTo(this.#saved.bytes)
    if (this.#crc32 !== this.#saved.crc32) throw damaged(this.#saved)
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }

  async #fillPiece(piece: Uint8Array): Promise<void> {
    for (let filled = 0; filled < piece.length; ) {
      const bytesRead = await this.#read(piece, filled)
      if (bytesRead === 0) throw damaged(this.#saved)
      filled += bytesRead
    }
    this.#crc32 = crc32(piece, this.#crc32)
    this.#at += piece.length
  }

  async #read(piece: Uint8Array, filled: number): Promise<number> {
    try {
      return (await this.#handle.read(piece, filled, piece.length - filled, this.#at + filled)).bytesRead
    } catch (thrown) {
      throw asStorageError(thrown, this.#saved.file)
    }
  }
}

async function openExisting(path: string, saved: SavedFile): Promise<FileHandle> {
  try {
    return await open(path, 'r')
  } catch (cause) {
    if (errnoOf(cause) !== 'ENOENT') throw asStorageError(cause, saved.file)
    throw new FreshetError('checkpoint-corrupt', `${saved.file} is missing`, { cause })
  }
}
