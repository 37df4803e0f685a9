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

/** What indexing made of an image's bytes, by digest and fingerprint: re-listing and replay run no model twice. */
export class EmbeddingCache {
  readonly #table: BoundedTable
  #hits = 0
  #misses = 0

  constructor(options: EmbeddingCacheOptions) {
    this.#table = new BoundedTable({ ...options, prefix: 'embedding:' })
  }

  get(digest: ImageDigest, fingerprint: Fingerprint): IndexedImage | undefined {
    const bytes = this.#table.get(cacheKey(digest, fingerprint))
    const image = bytes === undefined ? undefined : decodeIndexedImage(bytes, digest)
    if (image === undefined) this.#misses++
    else this.#hits++
    return image
  }

  async put(images: readonly { readonly image: IndexedImage; readonly fingerprint: Fingerprint }[]): Promise<void> {
    await this.#table.put(
      images.map(({ image, fingerprint }) => ({
        key: cacheKey(image.digest, fingerprint),
        value: encodeIndexedImage(image),
      })),
    )
  }

  status(): { readonly entries: number; readonly hits: number; readonly misses: number } {
    return { entries: this.#table.entryCount, hits: this.#hits, misses: this.#misses }
  }
}

function cacheKey(digest: ImageDigest, fingerprint: Fingerprint): string {
  return `${digest}:${fingerprint}`
}
