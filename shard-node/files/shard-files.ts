import { constants } from 'node:fs'
import { type FileHandle, link, mkdir, open, readdir, readFile, rename, rm, stat } from 'node:fs/promises'
import { join } from 'node:path'
import type { SavedFile } from '../segments/segment.ts'
import type { DiskStep, OnDiskStep } from './disk-steps.ts'
import { asStorageError, damaged, errnoOf } from './storage-errors.ts'
import { SummedReader } from './summed-reader.ts'
import { SummedWriter } from './summed-writer.ts'

/** Part of a file and where its bytes go. */
export interface Region {
  readonly at: number
  readonly into: Uint8Array
}

/** A file that does not exist under its name before `finish`. */
export interface NewFile {
  write(bytes: Uint8Array): Promise<void>
  /** Durable under its name, in place of what had that name, once this resolves. */
  finish(): Promise<SavedFile>
  /** Removes what was written, as far as that is possible. */
  abandon(): Promise<void>
}

/**
 * The files of one shard's directory, and the only way in which the engine changes it. Whole files appear under their
 * names by a rename after they are durable. All of it rejects with FreshetError: `storage-full` when the disk is,
 * `storage-failed` when the operating system refuses something else, `checkpoint-corrupt` when a saved file is
 * missing or not what was saved.
 */
export class ShardFiles {
  readonly directory: string
  readonly #onStep: OnDiskStep

  constructor(directory: string, onStep: OnDiskStep = () => {}) {
    this.directory = directory
    this.#onStep = onStep
  }

  path(file: string): string {
    return join(this.directory, file)
  }

  /** Name that a new file has before it is finished: what is found under such a name is of no use to anyone. */
  unfinishedName(file: string): string {
    return `${file}.tmp`
  }

  async createDirectory(): Promise<void> {
    await this.#calling('', () => mkdir(this.directory, { recursive: true }))
  }

  async list(): Promise<string[]> {
    return this.#calling('', () => readdir(this.directory))
  }

  /** Content of a small file; null when it does not exist. */
  async read(file: string): Promise<Buffer | null> {
    try {
      return await readFile(this.path(file))
    } catch (thrown) {
      if (errnoOf(thrown) === 'ENOENT') return null
      throw asStorageError(thrown, file)
    }
  }

  async create(file: string): Promise<NewFile> {
    const handle = await this.#step('create', file, () => open(this.path(this.unfinishedName(file)), 'w'))
    const writer = new SummedWriter(handle, { file, bytes: 0, crc32: 0 }, this.#onStep)
    const finish = async (): Promise<SavedFile> => {
      const saved = await writer.sync()
      await writer.close()
      await this.rename(this.unfinishedName(file), file)
      return saved
    }
    const abandon = async (): Promise<void> => {
      await writer.close()
      await this.#removeUnfinished(file)
    }
    return { write: bytes => writer.write(bytes), finish, abandon }
  }

  /** As `create`, of a file that a library writes: `write` is given the path, and blocks. */
  async createBy(file: string, write: (path: string) => void): Promise<SavedFile> {
    const path = this.path(this.unfinishedName(file))
    try {
      await this.#step('create', file, async () => (await open(path, 'w')).close())
      await this.#step('write', file, () => write(path))
      await this.#step('sync', file, () => syncPath(path))
      const saved = await this.#measure(file)
      await this.rename(this.unfinishedName(file), file)
      return saved
    } catch (thrown) {
      await this.#removeUnfinished(file)
      throw thrown
    }
  }

  /**
   * Goes on writing behind what was saved of the file, over anything that lies there; a file saved with 0 bytes is
   * made. What is written is durable after `sync`, which tells how much that is.
   */
  async appendTo(saved: SavedFile): Promise<SummedWriter> {
    if (saved.bytes > 0) return new SummedWriter(await this.#openSaved(saved), saved, this.#onStep)
    const flags = constants.O_RDWR | constants.O_CREAT | constants.O_TRUNC
    const handle = await this.#step('create', saved.file, () => open(this.path(saved.file), flags))
    await this.syncDirectory()
    return new SummedWriter(handle, saved, this.#onStep)
  }

  /** Atomic, durable, over any file named `to`. */
  async rename(from: string, to: string): Promise<void> {
    await this.#step('rename', to, () => rename(this.path(from), this.path(to)))
    await this.syncDirectory()
  }

  async syncDirectory(): Promise<void> {
    await this.#step('sync-directory', '', () => syncPath(this.directory))
  }

  /** Nothing happens when it does not exist. */
  async remove(file: string): Promise<void> {
    await this.#step('remove', file, () => rm(this.path(file), { force: true }))
  }

  /**
   * The same bytes under the same name in another directory; durable there after its `syncDirectory`. Only for files
   * that never change. A copy, verified, where links cannot be made (another device, another user's file).
   */
  async link(saved: SavedFile, target: ShardFiles): Promise<void> {
    const from = this.path(saved.file)
    try {
      await target.#step('link', saved.file, () => link(from, target.path(saved.file)))
    } catch (thrown) {
      const errno = thrown instanceof Error ? errnoOf(thrown.cause) : null
      if (errno !== 'EXDEV' && errno !== 'EPERM' && errno !== 'ENOTSUP') throw thrown
      await this.copy(saved, target)
    }
  }

  /** What was saved of the file as a file of its own in another directory; verified and durable. */
  async copy(saved: SavedFile, target: ShardFiles): Promise<void> {
    const copy = await target.create(saved.file)
    try {
      for await (const piece of this.pieces(saved, { mayBeLonger: true })) await copy.write(piece)
    } catch (thrown) {
      await copy.abandon()
      throw thrown
    }
    await copy.finish()
  }

  /** @throws FreshetError `checkpoint-corrupt` when the file is missing or not what was saved */
  async verify(saved: SavedFile): Promise<void> {
    await this.readInto(saved, [])
  }

  /**
   * Reads regions, in the order they lie in the file and apart, and verifies all of the file. The targets may lie in
   * shared memory; they hold anything when it rejects.
   */
  async readInto(saved: SavedFile, regions: readonly Region[]): Promise<void> {
    const reader = await SummedReader.open(this.path(saved.file), saved, { mayBeLonger: false })
    try {
      for (const { at, into } of regions) {
        await reader.skipTo(at)
        await reader.fill(into)
      }
      await reader.finish()
    } finally {
      await reader.close()
    }
  }

  /** One region of a file that was verified before. */
  async readAt(saved: SavedFile, region: Region): Promise<void> {
    const handle = await this.#calling(saved.file, () => open(this.path(saved.file), 'r'))
    try {
      const { length } = region.into
      const { bytesRead } = await this.#calling(saved.file, () => handle.read(region.into, 0, length, region.at))
      if (bytesRead < length) throw damaged(saved)
    } finally {
      await handle.close()
    }
  }

  /**
   * The file in pieces of up to 1 MiB, each valid until the next; throws behind the last one when the file is not
   * what was saved: nothing read is to be believed before.
   */
  async *pieces(
    saved: SavedFile,
    options: { readonly mayBeLonger: boolean },
  ): AsyncGenerator<Uint8Array, void, undefined> {
    const reader = await SummedReader.open(this.path(saved.file), saved, options)
    try {
      while (reader.at < saved.bytes) yield await reader.next()
      await reader.finish()
    } finally {
      await reader.close()
    }
  }

  /** What goes wrong here is not told: what went wrong before is, and nobody looks for the file. */
  async #removeUnfinished(file: string): Promise<void> {
    await this.remove(this.unfinishedName(file)).catch(() => {})
  }

  async #openSaved(saved: SavedFile): Promise<FileHandle> {
    const path = this.path(saved.file)
    const { size } = await this.#calling(saved.file, () => stat(path))
    if (size < saved.bytes) throw damaged(saved)
    return this.#calling(saved.file, () => open(path, 'r+'))
  }

  /** Length and checksum of a new file as it lies on disk. */
  async #measure(file: string): Promise<SavedFile> {
    const path = this.path(this.unfinishedName(file))
    const { size } = await this.#calling(file, () => stat(path))
    const reader = await SummedReader.open(path, { file, bytes: size, crc32: 0 }, { mayBeLonger: false })
    try {
      await reader.skipTo(size)
      return { file, bytes: size, crc32: reader.crc32 }
    } finally {
      await reader.close()
    }
  }

  async #step<T>(step: DiskStep, file: string, change: () => T | Promise<T>): Promise<T> {
    return this.#calling(file, () => {
      this.#onStep(step, file)
      return change()
    })
  }

  async #calling<T>(file: string, call: () => T | Promise<T>): Promise<T> {
    try {
      return await call()
    } catch (thrown) {
      throw asStorageError(thrown, file || this.directory)
    }
  }
}

async function syncPath(path: string): Promise<void> {
  const handle = await open(path, 'r')
  try {
    await handle.sync()
  } finally {
    await handle.close()
  }
}
