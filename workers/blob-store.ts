import { createHash, randomUUID } from 'node:crypto'
import { constants, statSync, unlinkSync } from 'node:fs'
import { type FileHandle, mkdir, open, readdir, readFile, rename, rm, stat, utimes } from 'node:fs/promises'
import { join } from 'node:path'
import { FreshetError } from '../schemas/errors.ts'
import type { ImageDigest } from '../schemas/ids.ts'

export interface BlobStoreOptions {
  readonly directory: string
  /** Bound on the bytes of all blobs. */
  readonly maxBytes: number
  /** Which of these digests a live item or a generation not retired refers to; those are never evicted. */
  readonly isReferenced: (digests: readonly ImageDigest[]) => Promise<ReadonlySet<ImageDigest>>
  /** Ms since 1970, as file times are. */
  readonly clock: () => number
  /** A blob younger than this is never evicted: its item may not be published yet. Default an hour. */
  readonly graceMs?: number
  /**
   * Other processes put blobs there too. What they put is found; the bound counts what this process knows of. Default
   * false.
   */
  readonly isShared?: boolean
}

export interface StoredBlob {
  readonly digest: ImageDigest
  readonly bytes: number
}

export interface BlobStoreStatus {
  readonly blobs: number
  readonly bytes: number
  readonly maxBytes: number
}

const digestPattern = /^[0-9a-f]{64}$/
const defaultGraceMs = 3_600_000
/** Eviction goes on to this share of the bound, so that not every put has to evict. */
const evictionTargetRatio = 0.95
const referencesPerQuestion = 256

interface HeldBlob {
  readonly bytes: number
  readonly storedAtMs: number
}

/**
 * Image bytes by their SHA-256, one file each: `<directory>/<first two hex digits>/<digest>`, so that a store of a
 * million blobs has some 4,000 names a folder. A file is written under `tmp/`, synced and renamed: a name that exists
 * is whole. Its modification time is when it was last put. One process owns the directory, unless it is shared.
 */
export class BlobStore {
  readonly #options: BlobStoreOptions
  readonly #blobs = new Map<ImageDigest, HeldBlob>()
  /** Of the blobs held. */
  #bytes = 0
  /** Of puts that found room and are not held yet. */
  #reservedBytes = 0
  #eviction: Promise<void> = Promise.resolve()

  private constructor(options: BlobStoreOptions) {
    this.#options = options
  }

  /** Creates the directory or takes stock of it; what an earlier process left half written is removed. */
  static async open(options: BlobStoreOptions): Promise<BlobStore> {
    const { directory } = options
    // What lies in a shared one may be half written by another process right now.
    if (!options.isShared) await rm(join(directory, 'tmp'), { recursive: true, force: true })
    await mkdir(join(directory, 'tmp'), { recursive: true })
    const store = new BlobStore(options)
    for (const folder of await makeFolders(directory)) await store.#takeStock(folder)
    return store
  }

  /**
   * Stores bytes; durable when resolved. Storing what is there already renews its age.
   * @throws FreshetError `image-empty` | `image-too-large` | `blob-store-full` | `storage-full` | `storage-failed`
   */
  async put(source: Uint8Array | AsyncIterable<Uint8Array>, limitBytes: number): Promise<StoredBlob> {
    const temporary = join(this.#options.directory, 'tmp', randomUUID())
    try {
      const blob = await writeSynced(temporary, source, limitBytes)
      if (!this.has(blob.digest)) await this.#adopt(temporary, blob)
      else {
        await rm(temporary)
        await this.#hold(blob)
      }
      return blob
    } catch (thrown) {
      await rm(temporary, { force: true })
      throw storageError(thrown)
    }
  }

  has(digest: ImageDigest): boolean {
    return this.#blobs.has(digest) || (this.#options.isShared === true && this.#discover(digest))
  }

  /**
   * Whether the bytes are there; then they count as put just now. For an event that names a blob: nothing refers to
   * it before the event is dispatched. In memory only, because after a restart undispatched events hold up evictions.
   */
  renew(digest: ImageDigest): boolean {
    if (!this.has(digest)) return false
    this.#blobs.set(digest, { ...this.#blobs.get(digest)!, storedAtMs: this.#options.clock() })
    return true
  }

  /** Path of the file; whoever reads it compares the digest, so damage on disk is noticed. */
  path(digest: ImageDigest): string {
    return join(this.#options.directory, digest.slice(0, 2), digest)
  }

  /** @throws FreshetError `blob-not-found` | `image-corrupt` when the bytes no longer have the digest */
  async read(digest: ImageDigest): Promise<Uint8Array> {
    if (!this.has(digest)) throw new FreshetError('blob-not-found', `no blob ${digest} is stored`)
    const bytes = await readFile(this.path(digest)).catch(thrown => {
      throw storageError(thrown)
    })
    if (createHash('sha256').update(bytes).digest('hex') === digest) return bytes
    throw new FreshetError('image-corrupt', `the stored bytes of ${digest} are damaged`)
  }

  status(): BlobStoreStatus {
    return { blobs: this.#blobs.size, bytes: this.#bytes, maxBytes: this.#options.maxBytes }
  }

  async #takeStock(folder: string): Promise<void> {
    const names = (await readdir(join(this.#options.directory, folder))).filter(name => digestPattern.test(name))
    const digests = names as ImageDigest[]
    const files = await Promise.all(digests.map(digest => stat(this.path(digest))))
    digests.forEach((digest, i) => {
      this.#count(digest, { bytes: files[i]!.size, storedAtMs: files[i]!.mtimeMs })
    })
  }

  /** Whether another process has put it. The name of a blob that is in a request may be no digest at all. */
  #discover(digest: ImageDigest): boolean {
    const file = digestPattern.test(digest) ? statSync(this.path(digest), { throwIfNoEntry: false }) : undefined
    if (file !== undefined) this.#count(digest, { bytes: file.size, storedAtMs: file.mtimeMs })
    return file !== undefined
  }

  async #adopt(temporary: string, blob: StoredBlob): Promise<void> {
    await this.#reserve(blob.bytes)
    try {
      await rename(temporary, this.path(blob.digest))
      // The file's time is that of its writing, a moment ago.
      this.#count(blob.digest, { bytes: blob.bytes, storedAtMs: this.#options.clock() })
      await syncDirectory(join(this.#options.directory, blob.digest.slice(0, 2)))
    } finally {
      this.#reservedBytes -= blob.bytes
    }
  }

  /** Counted before the file time is set, so that an eviction now in progress passes it over. */
  async #hold({ digest, bytes }: StoredBlob): Promise<void> {
    const storedAtMs = this.#options.clock()
    this.#count(digest, { bytes, storedAtMs })
    await utimes(this.path(digest), storedAtMs / 1000, storedAtMs / 1000)
  }

  #count(digest: ImageDigest, blob: HeldBlob): void {
    if (!this.#blobs.has(digest)) this.#bytes += blob.bytes
    this.#blobs.set(digest, blob)
  }

  /** Counts the bytes in, evicting others where the bound asks for it; one eviction after the other. */
  async #reserve(bytes: number): Promise<void> {
    const turn = this.#eviction.then(async () => {
      if (this.#bytes + this.#reservedBytes + bytes > this.#options.maxBytes) await this.#evictFor(bytes)
      this.#reservedBytes += bytes
    })
    this.#eviction = turn.catch(() => {})
    await turn
  }

  async #evictFor(bytes: number): Promise<void> {
    const { maxBytes, clock, graceMs = defaultGraceMs, isReferenced } = this.#options
    const target = maxBytes * evictionTargetRatio - bytes - this.#reservedBytes
    const newestMs = clock() - graceMs
    const candidates = this.#oldest(newestMs)
    for (let from = 0; from < candidates.length && this.#bytes > target; from += referencesPerQuestion) {
      const some = candidates.slice(from, from + referencesPerQuestion)
      const referenced = await isReferenced(some)
      for (const digest of some) if (this.#bytes > target && !referenced.has(digest)) this.#remove(digest, newestMs)
    }
    if (this.#bytes + this.#reservedBytes + bytes > maxBytes)
      throw new FreshetError('blob-store-full', `the blob store holds ${this.#bytes} bytes, its bound is ${maxBytes}`)
  }

  #oldest(newestMs: number): readonly ImageDigest[] {
    return [...this.#blobs]
      .filter(([, { storedAtMs }]) => storedAtMs <= newestMs)
      .sort(([, a], [, b]) => a.storedAtMs - b.storedAtMs)
      .map(([digest]) => digest)
  }

  /** In one go with forgetting it: a put of the same bytes that comes between would lose its file. */
  #remove(digest: ImageDigest, newestMs: number): void {
    const blob = this.#blobs.get(digest)
    if (blob === undefined || blob.storedAtMs > newestMs) return
    unlinkSync(this.path(digest))
    this.#blobs.delete(digest)
    this.#bytes -= blob.bytes
  }
}

/** All 256 at once, so that a put neither makes nor syncs one. Returns their names. */
async function makeFolders(directory: string): Promise<readonly string[]> {
  const names = Array.from({ length: 256 }, (_, i) => i.toString(16).padStart(2, '0'))
  const there = new Set(await readdir(directory))
  const missing = names.filter(name => !there.has(name))
  for (const name of missing) await mkdir(join(directory, name), { recursive: true })
  if (missing.length > 0) await syncDirectory(directory)
  return names
}

async function writeSynced(
  path: string,
  source: Uint8Array | AsyncIterable<Uint8Array>,
  limitBytes: number,
): Promise<StoredBlob> {
  const file = await open(path, constants.O_WRONLY | constants.O_CREAT | constants.O_EXCL, 0o644)
  try {
    const blob = await writeHashed(file, source, limitBytes)
    await file.sync()
    return blob
  } finally {
    await file.close()
  }
}

async function writeHashed(
  file: FileHandle,
  source: Uint8Array | AsyncIterable<Uint8Array>,
  limitBytes: number,
): Promise<StoredBlob> {
  const hash = createHash('sha256')
  let bytes = 0
  for await (const chunk of source instanceof Uint8Array ? [source] : source) {
    bytes += chunk.length
    if (bytes > limitBytes)
      throw new FreshetError('image-too-large', `the image has more than the allowed ${limitBytes} bytes`)
    hash.update(chunk)
    await file.writeFile(chunk)
  }
  if (bytes === 0) throw new FreshetError('image-empty', 'the image has no bytes')
  return { digest: hash.digest('hex') as ImageDigest, bytes }
}

async function syncDirectory(path: string): Promise<void> {
  const directory = await open(path, constants.O_RDONLY)
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}

function storageError(thrown: unknown): unknown {
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined
  if (thrown instanceof FreshetError || typeof code !== 'string' || !/^E[A-Z]+$/.test(code)) return thrown
  const full = code === 'ENOSPC' || code === 'EDQUOT'
  return new FreshetError(full ? 'storage-full' : 'storage-failed', `the blob store: ${code}`, { cause: thrown })
}
