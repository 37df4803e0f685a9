import { constants } from 'node:fs'
import { open, realpath } from 'node:fs/promises'
import { resolve, sep } from 'node:path'
import { fileURLToPath } from 'node:url'
import { FreshetError } from '../schemas/errors.ts'
import type { ImageDigest } from '../schemas/ids.ts'
import type { KeyValueStore } from '../topologies/key-value-store.ts'
import type { BlobStore } from './blob-store.ts'
import { BoundedTable } from './bounded-table.ts'
import type { HttpImages } from './http-images.ts'

export interface ImageSourceOptions {
  readonly blobs: BlobStore
  readonly http: HttpImages
  /** Keeps which bytes a reference led to. */
  readonly store: KeyValueStore
  /** Folders that `file:` references may name files in. None: no `file:` references. */
  readonly fileRoots: readonly string[]
  /** References remembered; a forgotten one is fetched again. */
  readonly maxReferences: number
  readonly random: () => number
}

export interface ResolveOptions {
  /** Of the item: another version means other bytes behind the same reference. */
  readonly imageVersion: string
  /** Ask again even though the reference is known. */
  readonly refresh: boolean
  readonly signal?: AbortSignal
}

/** What a reference led to when it was last asked. */
interface Remembered {
  readonly imageVersion: string
  readonly digest: ImageDigest
  readonly etag: string
}

/** References found meanwhile are stored together. */
const saveAfterMs = 200

/**
 * Where image bytes come from: `blob:<sha256>` that were uploaded, `file:` under the configured roots, `http(s):`.
 * Whatever the source, the bytes lie in the blob store before indexing sees them, so a replay sees the same bytes.
 */
export class ImageSource {
  readonly #options: ImageSourceOptions
  readonly #references: BoundedTable
  readonly #roots: readonly string[]
  readonly #unsaved = new Map<string, Remembered>()
  #saving: Promise<void> = Promise.resolve()
  #timer: NodeJS.Timeout | null = null

  private constructor(options: ImageSourceOptions, roots: readonly string[]) {
    this.#options = options
    this.#roots = roots
    const { store, random, maxReferences } = options
    this.#references = new BoundedTable({ store, random, maxEntries: maxReferences, prefix: 'reference:' })
  }

  /** @throws FreshetError `config-invalid` when a root does not exist */
  static async open(options: ImageSourceOptions): Promise<ImageSource> {
    const roots = options.fileRoots.map(root =>
      realpath(root).catch(cause => {
        throw new FreshetError('config-invalid', `the image root ${root} cannot be read`, { cause })
      }),
    )
    const asConfigured = options.fileRoots.map(root => resolve(root))
    return new ImageSource(options, [...new Set([...(await Promise.all(roots)), ...asConfigured])])
  }

  /**
   * Digest of the bytes behind a reference; they are in the blob store when this resolves.
   * @throws FreshetError image-*, blob-* and storage-* codes; the signal's reason when it fires
   */
  async resolve(reference: string, options: ResolveOptions): Promise<ImageDigest> {
    if (reference.startsWith('blob:')) return this.#uploaded(reference)
    const remembered = this.#recall(reference)
    const isCurrent = remembered?.imageVersion === options.imageVersion && this.#options.blobs.has(remembered.digest)
    if (remembered && isCurrent && !options.refresh) return remembered.digest
    const found = await this.#find(reference, isCurrent ? remembered : undefined, options.signal)
    this.#remember(reference, { ...found, imageVersion: options.imageVersion })
    return found.digest
  }

  /** Stores what is not stored yet. Resolves also when that fails: a forgotten reference is fetched again. */
  async close(): Promise<void> {
    this.#saveSoon()
    await this.#saving
  }

  /** Not worth a transaction of its own, nor waiting for one. */
  #remember(reference: string, remembered: Remembered): void {
    this.#unsaved.set(reference, remembered)
    this.#timer ??= setTimeout(() => this.#saveSoon(), saveAfterMs)
  }

  #saveSoon(): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
    this.#saving = this.#saving.then(() => this.#save())
  }

  async #save(): Promise<void> {
    const saved = [...this.#unsaved]
    if (saved.length === 0) return
    try {
      await this.#references.put(saved.map(([key, facts]) => ({ key, value: Buffer.from(JSON.stringify(facts)) })))
    } catch (thrown) {
      // They may be lost at any time; what matters of a full disk is told by whoever has to write.
      if (!(thrown instanceof FreshetError)) throw thrown
    }
    for (const [reference, facts] of saved) if (this.#unsaved.get(reference) === facts) this.#unsaved.delete(reference)
  }

  #uploaded(reference: string): ImageDigest {
    const digest = reference.slice('blob:'.length) as ImageDigest
    if (this.#options.blobs.has(digest)) return digest
    throw new FreshetError('blob-not-found', `no blob ${digest.slice(0, 64)} is stored`)
  }

  #recall(reference: string): Remembered | undefined {
    const unsaved = this.#unsaved.get(reference)
    if (unsaved) return unsaved
    const bytes = this.#references.get(reference)
    return bytes && (JSON.parse(Buffer.from(bytes).toString()) as Remembered)
  }

  async #find(
    reference: string,
    current: Remembered | undefined,
    signal: AbortSignal | undefined,
  ): Promise<Omit<Remembered, 'imageVersion'>> {
    if (reference.startsWith('file:')) return { digest: await this.#readFile(reference), etag: '' }
    if (!/^https?:/i.test(reference))
      throw new FreshetError('image-scheme', `${reference.slice(0, 80)} is no http(s):, blob: or file: reference`)
    const { blobs, http } = this.#options
    const image = await http.fetch(reference, {
      etag: current?.etag ?? '',
      store: chunks => blobs.put(chunks, http.maxBytes),
      ...(signal && { signal }),
    })
    if (image.type === 'fetched') return { digest: image.stored.digest, etag: image.etag }
    // Only asked with an etag, which only a current entry has.
    return { digest: current!.digest, etag: current!.etag }
  }

  async #readFile(reference: string): Promise<ImageDigest> {
    const path = await this.#allowedPath(reference)
    // Not blocking: a named pipe would wait for its writer for ever. Not following: the path is resolved already.
    const file = await open(path, constants.O_RDONLY | constants.O_NONBLOCK | constants.O_NOFOLLOW)
    try {
      if (!(await file.stat()).isFile()) throw new FreshetError('image-not-allowed', `${reference} is not a file`)
      const { digest } = await this.#options.blobs.put(
        file.createReadStream({ autoClose: false }),
        this.#options.http.maxBytes,
      )
      return digest
    } finally {
      await file.close()
    }
  }

  async #allowedPath(reference: string): Promise<string> {
    const named = pathOf(reference)
    // Judged by its name first: whether a file outside the roots exists is nobody's business.
    if (!this.#isUnderRoot(named)) throw outsideRoots(reference)
    const path = await realpath(named).catch((cause: NodeJS.ErrnoException) => {
      const missing = cause.code === 'ENOENT' || cause.code === 'ENOTDIR'
      throw new FreshetError(missing ? 'image-not-found' : 'image-not-allowed', `${reference}: ${cause.code}`, {
        cause,
      })
    })
    if (!this.#isUnderRoot(path)) throw outsideRoots(reference)
    return path
  }

  #isUnderRoot(path: string): boolean {
    return this.#roots.some(root => path.startsWith(root.endsWith(sep) ? root : root + sep))
  }
}

function outsideRoots(reference: string): FreshetError {
  return new FreshetError('image-not-allowed', `${reference.slice(0, 200)} is not under a configured image root`)
}

function pathOf(reference: string): string {
  try {
    return fileURLToPath(reference)
  } catch (cause) {
    throw new FreshetError('image-not-allowed', `${reference.slice(0, 80)} is not the URL of a local file`, { cause })
  }
}
