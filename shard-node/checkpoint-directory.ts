import { constants } from 'node:fs'
import { copyFile, link, mkdir, open, readdir, readFile, rename, rm } from 'node:fs/promises'
import { join } from 'node:path'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import { type CheckpointManifest, decodeManifest, encodeManifest, type SavedFile } from './checkpoint-manifest.ts'
import { sealFile, verifyFile } from './sealed-file.ts'

const current = 'MANIFEST'
const previous = 'MANIFEST.previous'
const dataFile = /^(?:items|rows|graph)-(\d+)(?:\.corrupt)?$/

/** A checkpoint that can be tried, or why its manifest cannot. */
export type FoundCheckpoint =
  | { readonly name: string; readonly manifest: CheckpointManifest }
  | { readonly name: string; readonly error: FreshetError }

/**
 * The files of a replica's checkpoints: the newest and the one before. A checkpoint exists from the rename of its
 * manifest on; its files have names of their own, are never written again, and go when no manifest names them.
 */
export class CheckpointDirectory {
  readonly path: string

  constructor(path: string) {
    this.path = path
  }

  async create(): Promise<void> {
    await mkdir(this.path, { recursive: true })
  }

  /** Newest first. */
  async find(): Promise<FoundCheckpoint[]> {
    const found: FoundCheckpoint[] = []
    for (const name of [current, previous]) {
      const text = await this.#read(name)
      if (text === null) continue
      try {
        found.push({ name, manifest: decodeManifest(text) })
      } catch (thrown) {
        found.push({ name, error: asFreshetError(thrown) })
      }
    }
    return found
  }

  /** A sequence number that no file here has. */
  async nextSequence(): Promise<number> {
    const used = (await readdir(this.path)).map(name => Number(dataFile.exec(name)?.[1] ?? 0))
    return Math.max(0, ...used) + 1
  }

  /** Makes the checkpoint the newest one, atomically; the newest so far becomes the previous one. */
  async publish(manifest: CheckpointManifest): Promise<void> {
    await this.#write(`${current}.new`, encodeManifest(manifest))
    await rm(this.#at(`${previous}.new`), { force: true })
    if ((await this.#read(current)) !== null) {
      await link(this.#at(current), this.#at(`${previous}.new`))
      await rename(this.#at(`${previous}.new`), this.#at(previous))
    }
    await rename(this.#at(`${current}.new`), this.#at(current))
    await this.#sync()
    await this.prune()
  }

  /** Removes data files that no manifest names. A manifest that cannot be read keeps them all. */
  async prune(): Promise<void> {
    const named = new Set<string>()
    for (const found of await this.find()) {
      if ('error' in found) return
      const { items, rows, graph } = found.manifest
      for (const saved of [items, rows, graph]) if (saved !== null) named.add(saved.file)
    }
    for (const name of await readdir(this.path))
      if (dataFile.test(name) && !name.endsWith('.corrupt') && !named.has(name)) await rm(this.#at(name))
  }

  /** Sets a damaged checkpoint aside for people to look at: its manifest and those of its files that are damaged. */
  async quarantine(found: FoundCheckpoint): Promise<void> {
    if ('manifest' in found) await this.quarantineFiles(found.manifest)
    await rename(this.#at(found.name), this.#at(`${found.name}.corrupt`))
    await this.#sync()
  }

  /** Sets the damaged files of a checkpoint aside, but not its manifest: for a graph, which is not needed. */
  async quarantineFiles(manifest: CheckpointManifest): Promise<void> {
    for (const saved of [manifest.items, manifest.rows, manifest.graph]) {
      if (saved === null || (await this.#isIntact(saved))) continue
      await rename(this.#at(saved.file), this.#at(`${saved.file}.corrupt`)).catch(ignoreMissing)
    }
  }

  /** Removes a checkpoint that is of no use to anyone. */
  async discard(found: FoundCheckpoint): Promise<void> {
    await rm(this.#at(found.name))
    await this.#sync()
  }

  /** Copies the newest checkpoint, its manifest last. Not while one is being published. */
  async copyNewest(target: string): Promise<void> {
    const [newest] = await this.find()
    if (newest === undefined || 'error' in newest)
      throw new FreshetError('checkpoint-corrupt', 'there is no checkpoint to copy')
    await mkdir(target, { recursive: true })
    const { items, rows, graph } = newest.manifest
    for (const saved of [items, rows, graph]) {
      if (saved === null) continue
      await copyFile(this.#at(saved.file), join(target, saved.file), constants.COPYFILE_FICLONE)
      await sealFile(target, saved.file)
    }
    await new CheckpointDirectory(target).publish(newest.manifest)
  }

  async #isIntact(saved: SavedFile): Promise<boolean> {
    try {
      await verifyFile(this.path, saved)
      return true
    } catch (thrown) {
      if (asFreshetError(thrown).code === 'checkpoint-corrupt') return false
      throw thrown
    }
  }

  async #read(name: string): Promise<string | null> {
    try {
      return await readFile(this.#at(name), 'utf8')
    } catch (thrown) {
      if (isMissing(thrown)) return null
      throw thrown
    }
  }

  async #write(name: string, text: string): Promise<void> {
    const handle = await open(this.#at(name), 'w')
    try {
      await handle.writeFile(text)
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  async #sync(): Promise<void> {
    const handle = await open(this.path, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  }

  #at(name: string): string {
    return join(this.path, name)
  }
}

function ignoreMissing(thrown: unknown): void {
  if (!isMissing(thrown)) throw thrown
}

function isMissing(thrown: unknown): boolean {
  return thrown instanceof Error && 'code' in thrown && thrown.code === 'ENOENT'
}
