import { FreshetError } from '../schemas/errors.ts'
import type { Fingerprint, ImageDigest } from '../schemas/ids.ts'
import type { IndexedImage } from '../schemas/image-analysis.ts'
import type { KeyValueStore } from '../topologies/key-value-store.ts'
import { BoundedTable } from './bounded-table.ts'
import { decodeIndexedImage, encodeIndexedImage } from './indexed-image-codec.ts'

export interface EmbeddingCacheOptions {
  readonly store: KeyValueStore
  /** Pictures kept per cache; one of 256 dimensions takes about 0.6 KB and as much per further object. */
  readonly maxEntries: number
  readonly random: () => number
}

export interface FreshImage {
  readonly image: IndexedImage
  readonly fingerprint: Fingerprint
}

/** Images that come meanwhile are stored together: entries lie far apart, so each alone would cost pages of its own. */
const saveAfterMs = 200
const saveAtOnce = 512
/** While the disk takes nothing, what is beyond is forgotten. */
const mostUnsaved = 4_096

/** What indexing made of an image's bytes, by digest and fingerprint: re-listing and replay run no model twice. */
export class EmbeddingCache {
  readonly #table: BoundedTable
  readonly #unsaved = new Map<string, IndexedImage>()
  #saving: Promise<void> | null = null
  #timer: NodeJS.Timeout | null = null
  #hits = 0
  #misses = 0

  constructor(options: EmbeddingCacheOptions) {
    this.#table = new BoundedTable({ ...options, prefix: 'embedding:' })
  }

  get(digest: ImageDigest, fingerprint: Fingerprint): IndexedImage | undefined {
    const image = this.#find(cacheKey(digest, fingerprint), digest)
    if (image === undefined) this.#misses++
    else this.#hits++
    return image
  }

  /** Found from now on; stored a moment later, or never when that fails: then the model runs again. */
  keep(images: readonly FreshImage[]): void {
    for (const { image, fingerprint } of images)
      if (this.#unsaved.size < mostUnsaved) this.#unsaved.set(cacheKey(image.digest, fingerprint), image)
    if (this.#unsaved.size >= saveAtOnce) this.#saveSoon()
    else if (this.#unsaved.size > 0) this.#timer ??= setTimeout(() => this.#saveSoon(), saveAfterMs)
  }

  /** Resolves when what was kept is stored, or could not be. */
  async close(): Promise<void> {
    while (this.#unsaved.size > 0) {
      this.#saveSoon()
      await this.#saving
    }
  }

  status(): { readonly entries: number; readonly hits: number; readonly misses: number } {
    return { entries: this.#table.entryCount + this.#unsaved.size, hits: this.#hits, misses: this.#misses }
  }

  #find(key: string, digest: ImageDigest): IndexedImage | undefined {
    const unsaved = this.#unsaved.get(key)
    if (unsaved !== undefined) return unsaved
    const bytes = this.#table.get(key)
    return bytes === undefined ? undefined : decodeIndexedImage(bytes, digest)
  }

  #saveSoon(): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
    this.#saving ??= this.#save([...this.#unsaved]).finally(() => {
      this.#saving = null
      // What came meanwhile waits for more.
      this.keep([])
    })
  }

  async #save(images: readonly (readonly [string, IndexedImage])[]): Promise<void> {
    try {
      await this.#table.put(images.map(([key, image]) => ({ key, value: encodeIndexedImage(image) })))
    } catch (thrown) {
      // Entries may be lost at any time; what matters of a full disk is told by whoever has to write.
      if (!(thrown instanceof FreshetError)) throw thrown
    }
    for (const [key, image] of images) if (this.#unsaved.get(key) === image) this.#unsaved.delete(key)
  }
}

function cacheKey(digest: ImageDigest, fingerprint: Fingerprint): string {
  return `${digest}:${fingerprint}`
}
