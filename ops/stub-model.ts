import { createHash } from 'node:crypto'
import { FreshetError } from '../schemas/errors.ts'
import type { Fingerprint, ImageDigest } from '../schemas/ids.ts'
import type { AnalysedImage, ImageBytes, ImageModel, IndexedImage, QuerySelection } from '../schemas/image-analysis.ts'
import type { Box } from '../schemas/mutation.ts'
import { encodeF16, normalise } from '../schemas/unit-vector.ts'

export const stubDims = 256
/** Of the stub model that has no other name. */
export const stubName = 'stub'
export const stubFingerprint = fingerprintOf(stubName)
const wholePicture: Box = [0, 0, 1, 1]

/** Whether a stub model has this name: `stub`, or one like `stub-b`, whose vectors and fingerprint are others. */
export function isStubName(name: string): boolean {
  return /^stub(-[a-z0-9-]+)?$/.test(name)
}

/**
 * Unit vector of `stubDims` f32, a function of digest and model alone: xorshift32 seeded with the first 32 bits of the
 * digest, or of the digest of both.
 */
export function stubVector(digest: string, name = stubName): Float32Array {
  const seed = name === stubName ? digest : sha256(`${name} ${digest}`)
  let state = Number.parseInt(seed.slice(0, 8), 16) | 1
  const vector = new Float32Array(stubDims)
  for (let i = 0; i < stubDims; i++) {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    vector[i] = state / 2 ** 31
  }
  return normalise(vector)
}

/**
 * Stands in for decode, detect and embed where a load test must not be a test of the models: the vector follows from
 * the image's digest, no pixel is looked at. Everything around it is as in production.
 */
export class StubModel implements ImageModel {
  readonly model: string
  readonly fingerprint: Fingerprint
  readonly dims = stubDims

  /** @throws FreshetError `model-invalid` for a name that no stub model has */
  constructor(name = stubName) {
    if (!isStubName(name))
      throw new FreshetError('model-invalid', `${name} is no stub model, and they replace all here`)
    this.model = name
    this.fingerprint = fingerprintOf(name)
  }

  async index(_image: ImageBytes, digest: ImageDigest): Promise<IndexedImage> {
    const vector = encodeF16(stubVector(digest, this.model))
    return { digest, width: 1, height: 1, objects: [{ box: wholePicture, label: '', score: 1, vector }] }
  }

  async analyse(image: ImageBytes, selection: QuerySelection): Promise<AnalysedImage> {
    if (typeof selection === 'object' && 'object' in selection)
      throw new FreshetError('object-not-found', 'the stub model detects no objects')
    const digest = 'bytes' in image ? sha256(image.bytes) : digestInPath(image.path)
    const embeds = selection !== 'none'
    const box = typeof selection === 'object' ? selection.box : wholePicture
    return {
      width: 1,
      height: 1,
      objects: [],
      searched: embeds ? { box, object: null } : null,
      vector: embeds ? stubVector(digest, this.model) : null,
      timingMs: { decode: 0, detect: 0, embed: 0 },
    }
  }
}

function fingerprintOf(name: string): Fingerprint {
  return sha256(name === stubName ? 'freshet-stub-model-1' : `freshet-stub-model-1 ${name}`) as Fingerprint
}

function sha256(content: string | Uint8Array): string {
  return createHash('sha256').update(content).digest('hex')
}

/** Blobs are stored in files of the name of their digest; the folder has its first digits too. */
function digestInPath(path: string): string {
  const digest = /[0-9a-f]{64}$/.exec(path)?.[0]
  if (digest === undefined) throw new FreshetError('blob-not-found', 'the stub model takes bytes or stored blobs only')
  return digest
}
