import type { FileHandle } from 'node:fs/promises'
import { crc32 } from 'node:zlib'
import type { SavedFile } from '../segments/segment.ts'
import type { OnDiskStep } from './disk-steps.ts'
import { asStorageError } from './storage-errors.ts'

/** Bytes per system call: the checksum of as many takes about 0.5 ms of the event loop. */
export const pieceBytes = 1 << 20

/**
 * Writes a file from a known position on, keeping the length and checksum of all of it. One call at a time. A write
 * that fails leaves both as they were: the next one goes over what it left.
 */
export class SummedWriter {
  readonly #handle: FileHandle
  readonly #file: string
  readonly #onStep: OnDiskStep
  #bytes: number
  #crc32: number

  constructor(handle: FileHandle, at: SavedFile, onStep: OnDiskStep) {
    this.#handle = handle
    this.#file = at.file
    this.#bytes = at.bytes
    this.#crc32 = at.crc32
    this.#onStep = onStep
  }

  /** What was written so far, durable or not. */
  get written(): SavedFile {
    return { file: this.#file, bytes: this.#bytes, crc32: this.#crc32 }
  }

  /** The bytes may lie in shared memory; they must not change meanwhile. */
  async write(bytes: Uint8Array): Promise<void> {
    let sum = this.#crc32
    try {
      for (let at = 0; at < bytes.length; at += pieceBytes) {
        const piece = bytes.subarray(at, at + pieceBytes)
        sum = crc32(piece, sum)
        this.#onStep('write', this.#file)
        await this.#writeAt(piece, this.#bytes + at)
      }
    } catch (thrown) {
      throw asStorageError(thrown, this.#file)
    }
    this.#crc32 = sum
    this.#bytes += bytes.length
  }

  /** Makes durable what was written before the call, and tells it. */
  async sync(): Promise<SavedFile> {
    const { written } = this
    try {
      this.#onStep('sync', this.#file)
      await this.#handle.sync()
    } catch (thrown) {
      throw asStorageError(thrown, this.#file)
    }
    return written
  }

  async close(): Promise<void> {
    await this.#handle.close()
  }

  async #writeAt(piece: Uint8Array, position: number): Promise<void> {
    for (let at = 0; at < piece.length; )
      at += (await this.#handle.write(piece, at, piece.length - at, position + at)).bytesWritten
  }
}
