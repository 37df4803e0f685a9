import { createHash } from 'node:crypto'
import { type FileHandle, open } from 'node:fs/promises'
import { join } from 'node:path'
import { FreshetError } from '../schemas/errors.ts'
import type { SavedFile } from './checkpoint-manifest.ts'

const readBytes = 1 << 20

/** Writes in order and sums up what was written. */
export class HashedWriter {
  readonly #handle: FileHandle
  readonly #hash = createHash('sha256')
  #bytes = 0

  constructor(handle: FileHandle) {
    this.#handle = handle
  }

  async write(bytes: Uint8Array): Promise<void> {
    this.#hash.update(bytes)
    this.#bytes += bytes.length
    for (let at = 0; at < bytes.length; ) at += (await this.#handle.write(bytes, at, bytes.length - at)).bytesWritten
  }

  /** Once, at the end. */
  written(): { readonly bytes: number; readonly sha256: string } {
    return { bytes: this.#bytes, sha256: this.#hash.digest('hex') }
  }
}

/** The file's bytes. @throws FreshetError `checkpoint-corrupt` when it is missing or not what was written */
export async function readVerified(directory: string, saved: SavedFile): Promise<Uint8Array> {
  const handle = await openSaved(directory, saved)
  try {
    const content = new Uint8Array(saved.bytes)
    const hash = createHash('sha256')
    let at = 0
    for (;;) {
      const { bytesRead } = await handle.read(content, at, Math.min(readBytes, saved.bytes - at), at)
      if (bytesRead === 0) break
      hash.update(content.subarray(at, at + bytesRead))
      at += bytesRead
    }
    if (at !== saved.bytes || hash.digest('hex') !== saved.sha256) throw mismatch(saved)
    return content
  } finally {
    await handle.close()
  }
}

/** Length and checksum of a file made by someone else, after making it durable. */
export async function sealFile(directory: string, file: string): Promise<SavedFile> {
  const handle = await open(join(directory, file), 'r+')
  try {
    await handle.sync()
    return { file, ...(await measure(handle)) }
  } finally {
    await handle.close()
  }
}

/** @throws FreshetError `checkpoint-corrupt` when the file is missing or not what was written */
export async function verifyFile(directory: string, saved: SavedFile): Promise<void> {
  const handle = await openSaved(directory, saved)
  try {
    const { bytes, sha256 } = await measure(handle)
    if (bytes !== saved.bytes || sha256 !== saved.sha256) throw mismatch(saved)
  } finally {
    await handle.close()
  }
}

async function measure(handle: FileHandle): Promise<{ readonly bytes: number; readonly sha256: string }> {
  const hash = createHash('sha256')
  const buffer = new Uint8Array(readBytes)
  let bytes = 0
  for (;;) {
    const { bytesRead } = await handle.read(buffer, 0, readBytes, bytes)
    if (bytesRead === 0) return { bytes, sha256: hash.digest('hex') }
    hash.update(buffer.subarray(0, bytesRead))
    bytes += bytesRead
  }
}

async function openSaved(directory: string, saved: SavedFile): Promise<FileHandle> {
  try {
    const handle = await open(join(directory, saved.file), 'r')
    const { size } = await handle.stat()
    if (size === saved.bytes) return handle
    await handle.close()
  } catch (cause) {
    throw new FreshetError('checkpoint-corrupt', `${saved.file} cannot be opened`, { cause })
  }
  throw mismatch(saved)
}

function mismatch(saved: SavedFile): FreshetError {
  return new FreshetError('checkpoint-corrupt', `${saved.file} does not match its length and checksum`)
}
