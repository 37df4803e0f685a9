import { hash } from 'node:crypto'
import { readFile } from 'node:fs/promises'
import { join } from 'node:path'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import type { ImageDigest } from '../schemas/ids.ts'
import type { AnalysedImage, ImageModel } from '../schemas/image-analysis.ts'
import { decodeF16, dot, norm } from '../schemas/unit-vector.ts'
import { bundledModels } from '../workers/model-manifest.ts'

/** A scene: the detector, the crops and the whole picture all have their part in it. */
const scene = join(bundledModels, 'golden', 'room-000.jpg')
/** What half-precision numbers and another batch change is below 0.00001. */
const leastCosine = 0.9995
/** The whole picture, and things in it. */
const objectsCompared = 3

/**
 * Puts one picture through both routes, indexing and query, as a running pool does: each object must get the same
 * vector by both, or nothing published would be found by its own picture. Also for models that others have added.
 * Null, and nothing is known, where pictures of 614,400 pixels are refused.
 * @throws FreshetError `model-invalid` when they differ; image-* and decoder-* codes
 */
export async function checkRoutes(model: ImageModel): Promise<{ readonly leastCosine: number | null }> {
  const bytes = await readFile(scene)
  const indexed = await model.index({ bytes }, hash('sha256', bytes) as ImageDigest).catch(thrown => {
    if (asFreshetError(thrown).code === 'image-too-many-pixels') return null
    throw thrown
  })
  if (indexed === null) return { leastCosine: null }
  const cosines = await Promise.all(
    indexed.objects.slice(0, objectsCompared).map(async ({ box, vector }) => {
      return cosine(decodeF16(vector), await model.analyse({ bytes }, { box }))
    }),
  )
  const least = Math.min(...cosines)
  if (least >= leastCosine) return { leastCosine: least }
  throw new FreshetError(
    'model-invalid',
    `${model.model} gives a picture another vector in a query than in indexing: cosine ${least.toPrecision(4)}, at least ${leastCosine} is needed`,
  )
}

function cosine(indexed: Float32Array, { vector }: AnalysedImage): number {
  if (vector === null || vector.length !== indexed.length) return 0
  return dot(indexed, vector) / (norm(indexed) * norm(vector))
}
