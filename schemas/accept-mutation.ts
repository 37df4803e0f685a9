import type { ErrorCode } from './errors.ts'
import { type Fingerprint, itemIdMaxBytes, type TopicEpoch } from './ids.ts'
import type { ItemObject, Mutation, ObjectsPut } from './mutation.ts'
import { decodeF16, norm } from './unit-vector.ts'

/** What a generation accepts; the same everywhere it is asked. */
export interface Acceptance {
  readonly fingerprint: Fingerprint
  readonly dims: number
  readonly topicEpoch: TopicEpoch
}

export interface Refusal {
  readonly code: ErrorCode
  readonly message: string
}

export const maxObjectsPerItem = 64
/** f16 rounding moves the length of a 256-d unit vector by less than 1e-3; 0.01 leaves room and still finds raw outputs. */
export const unitTolerance = 0.01

/**
 * The one rule for what may enter an index. The worker asks before it publishes, the dispatcher before it counts,
 * the shard before it applies. Returns null when accepted.
 */
export function acceptMutation(mutation: Mutation, acceptance: Acceptance): Refusal | null {
  if (mutation.type === 'Watermark') return null
  if (mutation.version.epoch !== acceptance.topicEpoch)
    return {
      code: 'topic-epoch',
      message: `version of epoch ${mutation.version.epoch}, expected ${acceptance.topicEpoch}`,
    }
  const idBytes = Buffer.byteLength(mutation.itemId)
  if (idBytes === 0 || idBytes > itemIdMaxBytes) return { code: 'bad-item-id', message: `item id of ${idBytes} bytes` }
  return mutation.type === 'ObjectsPut' ? acceptObjects(mutation, acceptance) : null
}

function acceptObjects(mutation: ObjectsPut, acceptance: Acceptance): Refusal | null {
  if (mutation.fingerprint !== acceptance.fingerprint)
    return {
      code: 'fingerprint-mismatch',
      message: `vectors of ${mutation.fingerprint.slice(0, 12)}, the generation holds ${acceptance.fingerprint.slice(0, 12)}`,
    }
  const count = mutation.objects.length
  if (count === 0 || count > maxObjectsPerItem)
    return { code: 'mutation-invalid', message: `${count} objects, allowed are 1 to ${maxObjectsPerItem}` }
  for (const object of mutation.objects) {
    const refusal = acceptObject(object, mutation.imageDigests.length, acceptance.dims)
    if (refusal) return refusal
  }
  return null
}

function acceptObject(object: ItemObject, imageCount: number, dims: number): Refusal | null {
  if (!isBox(object.box))
    return { code: 'mutation-invalid', message: `box [${object.box.join(', ')}] is not inside the image` }
  if (!Number.isInteger(object.image) || object.image < 0 || object.image >= imageCount)
    return { code: 'mutation-invalid', message: `an object of image ${object.image} where there are ${imageCount}` }
  if (!(object.score >= 0 && object.score <= 1))
    return { code: 'mutation-invalid', message: `a score of ${object.score}, allowed are 0 to 1` }
  if (object.vector.length !== dims * 2)
    return { code: 'vector-dimension', message: `vector of ${object.vector.length / 2} dimensions, expected ${dims}` }
  return acceptVector(decodeF16(object.vector), dims)
}

/** The vector part of the rule, for query vectors too. */
export function acceptVector(vector: Float32Array, dims: number): Refusal | null {
  if (vector.length !== dims)
    return { code: 'vector-dimension', message: `vector of ${vector.length} dimensions, expected ${dims}` }
  const length = norm(vector)
  if (!Number.isFinite(length))
    return { code: 'vector-not-finite', message: 'the vector holds a number that is not finite' }
  if (Math.abs(length - 1) > unitTolerance)
    return { code: 'vector-not-unit', message: `vector of length ${length.toFixed(4)}, expected 1` }
  return null
}

export function isBox(box: readonly number[]): boolean {
  const [x0, y0, x1, y1] = box
  return box.length === 4 && x0! >= 0 && y0! >= 0 && x1! <= 1 && y1! <= 1 && x0! < x1! && y0! < y1!
}
