import { acceptMutation, maxObjectsPerItem } from '../schemas/accept-mutation.ts'
import type { EmbedJob } from '../schemas/embed-job.ts'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import type { ImageDigest } from '../schemas/ids.ts'
import type { ImageBytes, ImageModel, IndexedImage } from '../schemas/image-analysis.ts'
import type { ItemObject, ObjectsPut, WorkStage } from '../schemas/mutation.ts'
import { inChildSpan, notePastWork } from '../schemas/trace-span.ts'
import type { BlobStore } from './blob-store.ts'
import type { EmbeddingCache, FreshImage } from './embedding-cache.ts'
import type { ImageSource } from './image-source.ts'
import type { WorkMeter } from './work-meter.ts'

export interface ItemObjectsPorts {
  readonly images: Pick<ImageSource, 'resolve'>
  readonly blobs: Pick<BlobStore, 'path'>
  readonly cache: EmbeddingCache
  readonly meter: WorkMeter
}

export interface EmbeddedItem {
  readonly put: ObjectsPut
  /** What the cache did not hold yet. */
  readonly fresh: readonly FreshImage[]
}

/** Image work that failed, where and with what. */
export class ImageWorkError extends Error {
  readonly stage: WorkStage
  readonly failure: FreshetError

  constructor(stage: WorkStage, failure: FreshetError) {
    super(failure.message, { cause: failure })
    this.stage = stage
    this.failure = failure
  }
}

/** Ms spent in all, over all images. */
export interface StageTimes {
  fetchMs: number
  modelMs: number
}

const decodeCodes = new Set(['image-empty', 'image-format', 'image-corrupt', 'image-too-many-pixels'])

/** Makes the objects of an item out of its image references: bytes, then the cache or the model, then one mutation. */
export class ItemObjects {
  readonly times: StageTimes = { fetchMs: 0, modelMs: 0 }
  readonly #ports: ItemObjectsPorts

  constructor(ports: ItemObjectsPorts) {
    this.#ports = ports
  }

  /** All images or none. @throws ImageWorkError naming the first image that failed */
  async embed(job: EmbedJob, model: ImageModel, signal: AbortSignal): Promise<EmbeddedItem> {
    if (job.images.length === 0)
      throw new ImageWorkError('fetch', new FreshetError('image-missing', 'the item has no image'))
    const fresh: FreshImage[] = []
    const images = await Promise.all(
      job.images.map(async (reference, i) => {
        const digest = await this.#fetch(job, i, signal)
        const cached = this.#ports.cache.get(digest, model.fingerprint)
        if (cached) return cached
        const image = await this.#index(digest, model, signal).catch(thrown => {
          throw imageError(stageOf(thrown), thrown, { job, i, reference })
        })
        fresh.push({ image, fingerprint: model.fingerprint })
        return image
      }),
    )
    return { put: objectsPut(job, model, images), fresh }
  }

  async #fetch(job: EmbedJob, i: number, signal: AbortSignal): Promise<ImageDigest> {
    const reference = job.images[i]!
    const began = performance.now()
    const imageVersion = imageVersionOf(job)
    try {
      return await inChildSpan('fetch', { attributes: { 'freshet.image': publicPart(reference) }, signal }, () =>
        this.#ports.images.resolve(reference, { imageVersion, refresh: job.refresh, signal }),
      )
    } catch (thrown) {
      throw imageError('fetch', thrown, { job, i, reference })
    } finally {
      const tookMs = performance.now() - began
      this.times.fetchMs += tookMs
      this.#ports.meter.took('fetch', tookMs)
    }
  }

  async #index(digest: ImageDigest, model: ImageModel, signal: AbortSignal): Promise<IndexedImage> {
    const { blobs, meter } = this.#ports
    const began = performance.now()
    const { steps = [], ...image } = await inChildSpan(
      'model',
      { attributes: { 'freshet.model': model.model }, signal },
      () => indexed(model, { path: blobs.path(digest) }, digest, signal),
    )
    const tookMs = performance.now() - began
    this.times.modelMs += tookMs
    meter.took('model', tookMs)
    meter.tookSteps(steps)
    return image
  }
}

/** Without what may be a secret: user, password and signature of a URL. */
function publicPart(reference: string): string {
  return reference
    .split(/[?#]/, 1)[0]!
    .replace(/\/\/[^/@]*@/, '//')
    .slice(0, 200)
}

/** With its steps as spans, where the job is traced. */
async function indexed(
  model: ImageModel,
  image: ImageBytes,
  digest: ImageDigest,
  signal: AbortSignal,
): Promise<IndexedImage> {
  const found = await model.index(image, digest, signal)
  if (found.steps !== undefined) notePastWork(found.steps)
  return found
}

/** The identity is the JSON of version and references, see `imageIdentity`. */
function imageVersionOf(job: EmbedJob): string {
  return (JSON.parse(job.imageIdentity) as readonly string[])[0] ?? ''
}

function objectsPut(job: EmbedJob, model: ImageModel, images: readonly IndexedImage[]): ObjectsPut {
  const put: ObjectsPut = {
    type: 'ObjectsPut',
    itemId: job.itemId,
    version: job.version,
    imageIdentity: job.imageIdentity,
    imageDigests: images.map(image => image.digest),
    fingerprint: model.fingerprint,
    objects: objectsOfItem(images),
  }
  const { fingerprint, dims } = model
  const refusal = acceptMutation(put, { fingerprint, dims, topicEpoch: job.version.epoch })
  if (refusal) throw new ImageWorkError('publish', new FreshetError(refusal.code, refusal.message))
  return put
}

/** Of all images in their order; where they are too many, the whole pictures stay before the best boxes. */
function objectsOfItem(images: readonly IndexedImage[]): readonly ItemObject[] {
  const all = images.flatMap((image, i) => image.objects.map(object => ({ ...object, image: i })))
  if (all.length <= maxObjectsPerItem) return all
  const rank = (object: ItemObject) => (object.label === '' ? 1 + object.score : object.score)
  const kept = new Set(all.toSorted((a, b) => rank(b) - rank(a)).slice(0, maxObjectsPerItem))
  return all.filter(object => kept.has(object))
}

function stageOf(thrown: unknown): WorkStage {
  return decodeCodes.has(asFreshetError(thrown).code) ? 'decode' : 'embed'
}

function imageError(
  stage: WorkStage,
  thrown: unknown,
  image: { readonly job: EmbedJob; readonly i: number; readonly reference: string },
): ImageWorkError {
  const { code, message, details } = asFreshetError(thrown)
  const where = `image ${image.i + 1} of ${image.job.images.length}, ${image.reference.slice(0, 200)}`
  return new ImageWorkError(stage, new FreshetError(code, `${where}: ${message}`, { cause: thrown, details }))
}
