import { createHash, webcrypto } from 'node:crypto'
import type { Meter } from '@opentelemetry/api'
import { LRUCache } from 'lru-cache'
import type { Fingerprint, ImageDigest } from '../../schemas/ids.ts'
import type { AnalysedImage, ImageBytes, QuerySelection } from '../../schemas/image-analysis.ts'
import { type CacheOutcome, countOutcomes } from './cache-metrics.ts'
import { SharedRuns } from './shared-runs.ts'

export interface PictureCacheOptions {
  /** 0: nothing is kept, but those who ask the same at the same time still share a run. */
  readonly maxBytes: number
  readonly meter: Meter
}

export interface PictureQuestion {
  readonly image: ImageBytes
  /** Null when it is not known yet. */
  readonly digest: ImageDigest | null
  readonly selection: QuerySelection
  /** Of the model that answers. */
  readonly fingerprint: Fingerprint
}

/** Pictures up to this size are hashed at once; larger ones by another thread. */
const hashedAtOnceBytes = 256 * 1024
const entryOverheadBytes = 400
const objectBytes = 160

/**
 * What a model saw in query pictures, by the digest of their bytes, the model's fingerprint and what of the picture was
 * asked for: the same bytes and the same model always give the same, so an entry is never stale. No picture is kept.
 */
export class PictureCache {
  readonly #entries: LRUCache<string, AnalysedImage> | null
  readonly #runs = new SharedRuns<AnalysedImage>()
  readonly #count: (outcome: CacheOutcome) => void

  constructor({ maxBytes, meter }: PictureCacheOptions) {
    const entries =
      maxBytes === 0 ? null : new LRUCache<string, AnalysedImage>({ maxSize: maxBytes, sizeCalculation: bytesOf })
    this.#entries = entries
    this.#count = countOutcomes(meter, 'picture', () => ({
      entries: entries?.size ?? 0,
      bytes: entries?.calculatedSize ?? 0,
    }))
  }

  /** Drops what is kept of a model. */
  forget(fingerprint: Fingerprint): void {
    for (const key of [...(this.#entries?.keys() ?? [])])
      if (key.startsWith(`${fingerprint} `)) this.#entries?.delete(key)
  }

  /** What was seen; `known` when nothing was computed for this caller. @throws what `analyse` throws; `timeout` when the signal fires first */
  async find(
    question: PictureQuestion,
    signal: AbortSignal,
    analyse: (signal: AbortSignal) => Promise<AnalysedImage>,
  ): Promise<{ readonly analysed: AnalysedImage; readonly known: boolean }> {
    const key = await keyOf(question)
    const held = this.#entries?.get(key)
    if (held !== undefined) {
      this.#count('hit')
      return { analysed: held, known: true }
    }
    const { value, joined } = await this.#runs.join(key, signal, async runSignal => {
      const analysed = await analyse(runSignal)
      this.#entries?.set(key, analysed)
      return analysed
    })
    this.#count(joined ? 'shared' : 'miss')
    return { analysed: value, known: joined }
  }
}

async function keyOf({ image, digest, selection, fingerprint }: PictureQuestion): Promise<string> {
  const picture = digest ?? ('bytes' in image ? await sha256(image.bytes) : image.path)
  return `${fingerprint} ${picture} ${JSON.stringify(selection)}`
}

async function sha256(bytes: Uint8Array): Promise<string> {
  if (bytes.length <= hashedAtOnceBytes) return createHash('sha256').update(bytes).digest('hex')
  return Buffer.from(await webcrypto.subtle.digest('SHA-256', bytes as Uint8Array<ArrayBuffer>)).toString('hex')
}

function bytesOf({ objects, vector }: AnalysedImage): number {
  return entryOverheadBytes + objects.length * objectBytes + (vector?.byteLength ?? 0)
}
