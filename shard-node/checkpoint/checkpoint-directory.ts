import { asFreshetError, type FreshetError } from '../../schemas/errors.ts'
import type { ShardFiles } from '../files/shard-files.ts'
import { type CheckpointManifest, decodeManifest, encodeManifest, filesOf } from './manifest.ts'

const current = 'MANIFEST'
const previous = 'MANIFEST.previous'
/** Also of former formats, and such as were never finished. */
const dataFile = /^(?:items|rows|graph)-(\d+|empty)(?:\.tmp)?$/
/** What the checkpoint before may take on disk besides the newest, as a share of that and at least. */
const spareShare = 0.1
const spareBytes = 16 * 2 ** 20

/** A checkpoint that can be tried, or why its manifest cannot. */
export type FoundCheckpoint =
  | { readonly name: string; readonly manifest: CheckpointManifest }
  | { readonly name: string; readonly error: FreshetError }

/**
 * The checkpoints in a replica's directory: the newest, and the one before while it costs little. A checkpoint exists
 * from the rename of its manifest on; files go when neither a manifest nor the running index needs them.
 */
export class CheckpointDirectory {
  readonly files: ShardFiles

  constructor(files: ShardFiles) {
    this.files = files
  }

  /** Newest first. */
  async find(): Promise<FoundCheckpoint[]> {
    const found: FoundCheckpoint[] = []
    for (const name of [current, previous]) {
      const text = await this.files.read(name)
      if (text === null) continue
      try {
        found.push({ name, manifest: decodeManifest(text.toString('utf8')) })
      } catch (thrown) {
        found.push({ name, error: asFreshetError(thrown) })
      }
    }
    return found
  }

  /** The largest number in the name of a file here: larger ones are new names. */
  async lastNumber(): Promise<number> {
    const numbers = (await this.files.list()).map(name => Number(/^[a-z]+-(\d+)/.exec(name)?.[1] ?? 0))
    return Math.max(0, ...numbers)
  }

  /**
   * Makes the checkpoint the newest one, atomically. The newest so far becomes the one before, unless what only it
   * needs takes more than the spare.
   */
  async publish(manifest: CheckpointManifest, inUse: () => ReadonlySet<string>): Promise<void> {
    const newest = (await this.find()).find(({ name }) => name === current)
    const keepsBefore = newest !== undefined && 'manifest' in newest && isSpare(newest.manifest, manifest)
    if (keepsBefore) await this.#write(previous, newest.manifest)
    await this.#write(current, manifest)
    if (!keepsBefore) await this.files.remove(previous)
    await this.prune(inUse)
  }

  /** Removes data files that nothing needs. A manifest that cannot be read keeps them all. */
  async prune(inUse: () => ReadonlySet<string>): Promise<void> {
    const named = new Set<string>()
    for (const found of await this.find()) {
      if ('error' in found) return
      for (const { file } of filesOf(found.manifest)) named.add(file)
    }
    const present = await this.files.list()
    // Asked after the listing: a file that is begun later is not in it.
    const used = inUse()
    for (const name of present)
      if (dataFile.test(name) && !named.has(name) && !used.has(name)) await this.files.remove(name)
  }

  /**
   * Sets a damaged checkpoint aside for people to look at: its manifest and those of its files that are damaged. Not
   * those that another checkpoint names: the damage may lie behind what that one reads.
   */
  async quarantine(found: FoundCheckpoint): Promise<void> {
    const files = 'manifest' in found ? filesOf(found.manifest) : []
    const present = new Set(await this.files.list())
    const others = (await this.find()).filter(({ name }) => name !== found.name)
    const needed = new Set(others.flatMap(other => ('manifest' in other ? filesOf(other.manifest) : [])).map(nameOf))
    for (const saved of files) {
      if (!present.has(saved.file) || needed.has(saved.file) || (await this.#isIntact(saved))) continue
      await this.files.rename(saved.file, `${saved.file}.corrupt`)
    }
    await this.files.rename(found.name, `${found.name}.corrupt`)
  }

  /** Removes a checkpoint that is of no use to anyone. */
  async discard({ name }: FoundCheckpoint): Promise<void> {
    await this.files.remove(name)
    await this.files.syncDirectory()
  }

  /**
   * The checkpoint in another directory, its manifest last. Files that never change are linked; the newest of the
   * item log goes on growing here and is copied as far as the checkpoint knows it.
   */
  async linkTo(target: ShardFiles, manifest: CheckpointManifest): Promise<void> {
    await target.createDirectory()
    const { files } = manifest.items
    for (const saved of files.slice(0, -1)) await this.files.link(saved, target)
    for (const saved of files.slice(-1)) await this.files.copy(saved, target)
    for (const { rows, graph } of manifest.segments) {
      await this.files.link(rows, target)
      if (graph !== null) await this.files.link(graph, target)
    }
    await target.syncDirectory()
    await new CheckpointDirectory(target).adopt(manifest)
  }

  /** The checkpoint's files as own files in another directory, each verified. */
  async copyFiles(manifest: CheckpointManifest, target: ShardFiles): Promise<void> {
    for (const saved of filesOf(manifest)) await this.files.copy(saved, target)
  }

  /** Makes the checkpoint the newest one; its files are here. */
  async adopt(manifest: CheckpointManifest): Promise<void> {
    await this.#write(current, manifest)
  }

  async #isIntact(saved: ReturnType<typeof filesOf>[number]): Promise<boolean> {
    try {
      for await (const _ of this.files.pieces(saved, { mayBeLonger: true }));
      return true
    } catch (thrown) {
      if (asFreshetError(thrown).code === 'checkpoint-corrupt') return false
      throw thrown
    }
  }

  async #write(name: string, manifest: CheckpointManifest): Promise<void> {
    const file = await this.files.create(name)
    try {
      await file.write(Buffer.from(encodeManifest(manifest)))
      await file.finish()
    } catch (thrown) {
      await file.abandon()
      throw thrown
    }
  }
}

function nameOf({ file }: { readonly file: string }): string {
  return file
}

/** Whether the former checkpoint needs little that the newer one does not need. */
function isSpare(former: CheckpointManifest, newer: CheckpointManifest): boolean {
  const needed = new Set(filesOf(newer).map(({ file }) => file))
  const newerBytes = totalBytes(filesOf(newer))
  return (
    totalBytes(filesOf(former).filter(({ file }) => !needed.has(file))) <= Math.max(spareBytes, spareShare * newerBytes)
  )
}

export function totalBytes(files: readonly { readonly bytes: number }[]): number {
  return files.reduce((sum, { bytes }) => sum + bytes, 0)
}
