import { type ItemUpserted, imageIdentity } from '../../schemas/catalog-event.ts'
import { type EmbedJob, jobIdOf } from '../../schemas/embed-job.ts'
import type { ErrorCode } from '../../schemas/errors.ts'
import type { Fingerprint, Generation, ImageDigest, ItemId, Offset, Partition, TopicEpoch } from '../../schemas/ids.ts'
import { type Mutation, type ObjectsPut, type Register, registerOf, type WorkFailed } from '../../schemas/mutation.ts'
import { encodeF16 } from '../../schemas/unit-vector.ts'

/** Records as the tests of the dispatcher make and read them. */
export const testEpoch = '00000000000000e1' as TopicEpoch
export const testFingerprint = 'f'.repeat(64) as Fingerprint
export const testGeneration = 'g1' as Generation
const unitVector = encodeF16([1, 0, 0, 0])

export interface DrivenMutation {
  readonly offset: Offset
  readonly appendTimeMs: number
  readonly key: string
  readonly mutation: Mutation | null
}

export function objectsOf(job: EmbedJob, fingerprint = testFingerprint): ObjectsPut {
  return {
    type: 'ObjectsPut',
    itemId: job.itemId,
    version: job.version,
    imageIdentity: job.imageIdentity,
    imageDigests: ['d'.repeat(64) as ImageDigest],
    fingerprint,
    objects: [{ box: [0, 0, 1, 1], label: '', score: 1, image: 0, vector: unitVector }],
  }
}

export function failureOf(job: EmbedJob, retryable: boolean, code: ErrorCode = 'image-host-busy'): WorkFailed {
  return {
    type: 'WorkFailed',
    itemId: job.itemId,
    version: job.version,
    imageIdentity: job.imageIdentity,
    stage: 'fetch',
    code,
    message: 'failed by the test',
    retryable,
    attempts: 1,
  }
}

/** The versions that count for a reader of the log; -1 for none. */
export interface FoldedItem {
  readonly a: number
  readonly o: number
  readonly f: number
  /** Identity of the objects that count; empty for none. */
  readonly identity: string
  /** Identity of the failure that counts; empty for none. */
  readonly failedIdentity: string
}

type RegisterWrite = { readonly version: number; readonly identity: string }

/**
 * The registers as a shard holds them after reading the records, without what a removal or newer objects have beaten,
 * and without the removals themselves, which leave the log when they are old.
 */
export function foldRegisters(records: Iterable<DrivenMutation>): ReadonlyMap<ItemId, FoldedItem> {
  const writes = new Map<ItemId, Record<Register, RegisterWrite>>()
  for (const { mutation } of records) {
    if (mutation === null || mutation.type === 'Watermark') continue
    if (mutation.type === 'ObjectsPut' && mutation.fingerprint !== testFingerprint) continue
    const item = writes.get(mutation.itemId) ?? { a: unwritten, o: unwritten, x: unwritten, f: unwritten }
    const register = registerOf(mutation)
    const identity = 'imageIdentity' in mutation ? mutation.imageIdentity : ''
    if (mutation.version.offset > item[register].version)
      item[register] = { version: mutation.version.offset, identity }
    writes.set(mutation.itemId, item)
  }
  const folded = new Map<ItemId, FoldedItem>()
  for (const [itemId, { a, o, x, f }] of writes) {
    const attributes = a.version > x.version ? a : unwritten
    const objects = o.version > x.version ? o : unwritten
    const failure = f.version > x.version && f.version > o.version ? f : unwritten
    if (attributes === unwritten && objects === unwritten && failure === unwritten) continue
    const [identity, failedIdentity] = [objects.identity, failure.identity]
    folded.set(itemId, { a: attributes.version, o: objects.version, f: failure.version, identity, failedIdentity })
  }
  return folded
}

const unwritten: RegisterWrite = { version: -1, identity: '' }

/** An upsert of the item with one image, which is its identity. */
export function upsertOf(
  itemId: ItemId,
  image: string,
  options: { readonly price?: number; readonly refresh?: boolean } = {},
): ItemUpserted {
  const { price = 1, refresh = false } = options
  return {
    type: 'ItemUpserted',
    itemId,
    title: 'title',
    category: 'category',
    price,
    currency: 'EUR',
    regions: [],
    available: true,
    attributes: {},
    images: [image],
    imageVersion: '',
    refresh,
  }
}

export function identityOf(image: string): string {
  return imageIdentity({ images: [image], imageVersion: '' })
}

export function jobIdAt(partition: Partition, offset: Offset): string {
  return jobIdOf({ generation: testGeneration, partition, version: { epoch: testEpoch, offset } })
}
