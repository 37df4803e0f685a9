import fc from 'fast-check'
import type { AttributeValue, CatalogEvent, ItemAttributes, ItemDeleted, ItemUpserted } from '../catalog-event.ts'
import type { ControlRecord } from '../control.ts'
import type { DeadLetter } from '../dead-letter.ts'
import type { EmbedJob } from '../embed-job.ts'
import type { EngagementAction, EngagementRecord } from '../engagement.ts'
import { type ErrorCode, errorCodes } from '../errors.ts'
import type { Heartbeat } from '../heartbeat.ts'
import type {
  Fingerprint,
  Generation,
  ImageDigest,
  ItemId,
  Offset,
  Partition,
  ReplicaId,
  ShardId,
  TopicEpoch,
  Version,
} from '../ids.ts'
import { itemIdMaxBytes } from '../ids.ts'
import type {
  AttributesPut,
  Box,
  ItemObject,
  ItemRemoved,
  Mutation,
  ObjectsPut,
  Watermark,
  WorkFailed,
  WorkStage,
} from '../mutation.ts'
import type { ReplicaState } from '../shard-api.ts'
import { encodeF16, normalise } from '../unit-vector.ts'

/** Records and their parts for property tests: every value is one that a reader must take. */

const hexText = (digits: number): fc.Arbitrary<string> =>
  fc.string({ unit: fc.constantFrom(...'0123456789abcdef'), minLength: digits, maxLength: digits })

/** Plain objects with every field, as decoded records are. */
function plain<T>(fields: { [Name in keyof T]: fc.Arbitrary<T[Name]> }): fc.Arbitrary<T> {
  return fc.record(fields, { noNullPrototype: true })
}

/** Any Unicode text, control characters included, lone surrogates not. */
const text = fc.string({ unit: 'binary', maxLength: 40 })
/** What Avro's `long` holds without loss here. */
const long = fc.integer({ min: -1, max: Number.MAX_SAFE_INTEGER - 1 })
const timeMs = fc.integer({ min: 0, max: 4_102_444_800_000 })
const count = fc.integer({ min: 0, max: 2 ** 31 - 1 })
const fraction = fc.double({ min: 0, max: 1, noNaN: true })

export const arbitraryItemId: fc.Arbitrary<ItemId> = fc
  .oneof(
    fc.nat(99_999).map(number => `sku-${number}`),
    fc
      .string({ unit: 'grapheme', minLength: 1, maxLength: 60 })
      .filter(id => !/\p{Cc}/u.test(id) && Buffer.byteLength(id) <= itemIdMaxBytes),
  )
  .map(id => id as ItemId)
export const arbitraryTopicEpoch: fc.Arbitrary<TopicEpoch> = hexText(16).map(hex => hex as TopicEpoch)
export const arbitraryOffset: fc.Arbitrary<Offset> = long.map(offset => offset as Offset)
export const arbitraryPartition: fc.Arbitrary<Partition> = fc.nat(1023).map(partition => partition as Partition)
export const arbitraryVersion: fc.Arbitrary<Version> = plain({
  epoch: arbitraryTopicEpoch,
  offset: arbitraryOffset,
})
export const arbitraryFingerprint: fc.Arbitrary<Fingerprint> = hexText(64).map(hex => hex as Fingerprint)
export const arbitraryImageDigest: fc.Arbitrary<ImageDigest> = hexText(64).map(hex => hex as ImageDigest)
export const arbitraryGeneration: fc.Arbitrary<Generation> = fc
  .stringMatching(/^[a-z0-9-]{1,40}$/)
  .map(name => name as Generation)
export const arbitraryErrorCode: fc.Arbitrary<ErrorCode> = fc.constantFrom(...(Object.keys(errorCodes) as ErrorCode[]))

const images = fc.array(
  fc.oneof(
    fc.webUrl(),
    hexText(64).map(digest => `blob:${digest}`),
    text,
  ),
  {
    minLength: 1,
    maxLength: 4,
  },
)
const attributeValue: fc.Arbitrary<AttributeValue> = fc.oneof(text, fc.double(), fc.boolean())

const attributeFields = {
  title: text,
  category: text,
  price: fc.option(fc.double({ noNaN: true, noDefaultInfinity: true })),
  currency: fc.constantFrom('', 'EUR', 'USD'),
  regions: fc.array(text, { maxLength: 4 }),
  available: fc.boolean(),
  attributes: fc.dictionary(text, attributeValue, { maxKeys: 6, noNullPrototype: true }),
}
export const arbitraryAttributes: fc.Arbitrary<ItemAttributes> = plain(attributeFields)

export const arbitraryItemUpserted: fc.Arbitrary<ItemUpserted> = plain({
  type: fc.constant('ItemUpserted' as const),
  itemId: arbitraryItemId,
  images,
  imageVersion: text,
  refresh: fc.boolean(),
  ...attributeFields,
})

export const arbitraryItemDeleted: fc.Arbitrary<ItemDeleted> = plain({
  type: fc.constant('ItemDeleted' as const),
  itemId: arbitraryItemId,
})

export const arbitraryCatalogEvent: fc.Arbitrary<CatalogEvent> = fc.oneof(
  arbitraryItemUpserted,
  arbitraryItemDeleted,
  plain({ type: fc.constant('TopicEpoch' as const), epoch: arbitraryTopicEpoch }),
)

/** A box with an area, inside the image. */
export const arbitraryBox: fc.Arbitrary<Box> = fc
  .record({ x0: fraction, y0: fraction, width: fraction, height: fraction })
  .map(({ x0, y0, width, height }): Box => [x0 * 0.9, y0 * 0.9, x0 * 0.9 + 0.1 * width, y0 * 0.9 + 0.1 * height])
  .filter(([x0, y0, x1, y1]) => x0 < x1 && y0 < y1)

/** f32 components of unit length. */
export function arbitraryUnitVector(dims: number): fc.Arbitrary<Float32Array> {
  return fc
    .array(fc.integer({ min: -1000, max: 1000 }), { minLength: dims, maxLength: dims })
    .filter(components => components.some(component => component !== 0))
    .map(components => normalise(Float32Array.from(components)))
}

const arbitraryItemObject = (dims: number, imageCount: number): fc.Arbitrary<ItemObject> =>
  plain({
    box: arbitraryBox,
    label: text,
    score: fraction,
    image: fc.nat(imageCount - 1),
    vector: arbitraryUnitVector(dims).map(encodeF16),
  })

/** Objects that `acceptMutation` takes for their fingerprint, dimension and epoch. */
export function arbitraryObjectsPut(dims: number): fc.Arbitrary<ObjectsPut> {
  return fc.array(arbitraryImageDigest, { minLength: 1, maxLength: 3 }).chain(imageDigests =>
    plain({
      type: fc.constant('ObjectsPut' as const),
      itemId: arbitraryItemId,
      version: arbitraryVersion,
      imageIdentity: text,
      imageDigests: fc.constant(imageDigests),
      fingerprint: arbitraryFingerprint,
      objects: fc.array(arbitraryItemObject(dims, imageDigests.length), { minLength: 1, maxLength: 4 }),
    }),
  )
}

export const arbitraryAttributesPut: fc.Arbitrary<AttributesPut> = plain({
  type: fc.constant('AttributesPut' as const),
  itemId: arbitraryItemId,
  version: arbitraryVersion,
  images,
  imageVersion: text,
  acceptedAtMs: timeMs,
  ...attributeFields,
})

export const arbitraryItemRemoved: fc.Arbitrary<ItemRemoved> = plain({
  type: fc.constant('ItemRemoved' as const),
  itemId: arbitraryItemId,
  version: arbitraryVersion,
  acceptedAtMs: timeMs,
})

const workStage = fc.constantFrom<WorkStage[]>('dispatch', 'fetch', 'decode', 'embed', 'publish')

export const arbitraryWorkFailed: fc.Arbitrary<WorkFailed> = plain({
  type: fc.constant('WorkFailed' as const),
  itemId: arbitraryItemId,
  version: arbitraryVersion,
  imageIdentity: text,
  stage: workStage,
  code: arbitraryErrorCode,
  message: text,
  retryable: fc.boolean(),
  attempts: count,
})

export const arbitraryWatermark: fc.Arbitrary<Watermark> = plain({
  type: fc.constant('Watermark' as const),
  partition: arbitraryPartition,
  offset: arbitraryOffset,
  oldestPendingTimeMs: fc.option(timeMs),
  endOffset: arbitraryOffset,
  writtenAtMs: timeMs,
})

export const arbitraryMutation: fc.Arbitrary<Mutation> = fc.oneof(
  arbitraryObjectsPut(8),
  arbitraryAttributesPut,
  arbitraryItemRemoved,
  arbitraryWorkFailed,
  arbitraryWatermark,
)

const decision = { decidedAfter: arbitraryOffset, by: text, atMs: timeMs, reason: text }
const model = { model: text, fingerprint: arbitraryFingerprint, dims: count }

export const arbitraryControlRecord: fc.Arbitrary<ControlRecord> = fc.oneof(
  plain({ type: fc.constant('ModelRegistered' as const), ...decision, ...model, manifest: text }),
  plain({
    type: fc.constant('GenerationStarted' as const),
    ...decision,
    ...model,
    generation: arbitraryGeneration,
    shards: count,
    backfillUntil: fc.array(arbitraryOffset, { maxLength: 8 }),
    topicEpoch: fc.option(arbitraryTopicEpoch),
    from: fc.option(arbitraryGeneration),
    weights: text,
    index: text,
    imagesPerSecond: fc.double({ min: 0, max: 1e6, noNaN: true }),
  }),
  plain({
    type: fc.constant('CanaryPassed' as const),
    ...decision,
    generation: arbitraryGeneration,
    evidence: text,
    digest: text,
  }),
  plain({
    type: fc.constant('CutoverCertified' as const),
    ...decision,
    generation: arbitraryGeneration,
    against: arbitraryGeneration,
    evidence: text,
    digest: text,
  }),
  plain({
    type: fc.constant('RoutingChanged' as const),
    ...decision,
    shares: fc.dictionary(arbitraryGeneration, fraction, { noNullPrototype: true }),
    override: text,
    rebuilds: fc.dictionary(
      arbitraryGeneration,
      plain({
        phase: fc.constantFrom('running' as const, 'paused' as const, 'caught-up' as const),
        imagesPerSecond: fraction,
      }),
      { noNullPrototype: true },
    ),
  }),
  plain({
    type: fc.constant('GenerationRetired' as const),
    ...decision,
    generation: arbitraryGeneration,
    override: text,
  }),
)

export const arbitraryEngagementRecord: fc.Arbitrary<EngagementRecord> = fc.oneof(
  plain({
    type: fc.constant('ResultsShown' as const),
    queryId: text,
    generation: text,
    atMs: timeMs,
    itemIds: fc.array(text),
    session: text,
  }),
  plain({
    type: fc.constant('Engaged' as const),
    queryId: text,
    itemId: text,
    action: fc.constantFrom<EngagementAction[]>('click', 'save', 'cart', 'purchase', 'notRelevant', 'relevant'),
    position: count,
    atMs: timeMs,
  }),
)

export const arbitraryEmbedJob: fc.Arbitrary<EmbedJob> = plain({
  generation: arbitraryGeneration,
  itemId: arbitraryItemId,
  partition: arbitraryPartition,
  version: arbitraryVersion,
  imageIdentity: text,
  images,
  refresh: fc.boolean(),
  acceptedAtMs: timeMs,
  pendingSinceMs: timeMs,
  traceparent: text,
})

export const arbitraryDeadLetter: fc.Arbitrary<DeadLetter> = plain({
  type: fc.constant('DeadLetter' as const),
  sourceTopic: text,
  sourcePartition: arbitraryPartition,
  sourceOffset: arbitraryOffset,
  generation: fc.oneof(fc.constant(''), arbitraryGeneration),
  stage: workStage,
  code: arbitraryErrorCode,
  message: text,
  attempts: count,
  failedAtMs: timeMs,
  traceparent: text,
  key: fc.option(fc.uint8Array()),
  value: fc.option(fc.uint8Array()),
  job: fc.option(arbitraryEmbedJob),
})

/** Offsets by partition. */
export const arbitraryOffsets: fc.Arbitrary<Readonly<Record<string, Offset>>> = fc.dictionary(
  fc.nat(1023).map(String),
  arbitraryOffset,
  { maxKeys: 4, noNullPrototype: true },
)

export const arbitraryReplicaState: fc.Arbitrary<ReplicaState> = fc.constantFrom<ReplicaState[]>(
  'starting',
  'catching-up',
  'ready',
  'refusing',
  'stopped',
)

export const arbitraryHeartbeat: fc.Arbitrary<Heartbeat> = plain({
  type: fc.constant('Heartbeat' as const),
  role: fc.constantFrom<Heartbeat['role'][]>('shard', 'dispatch'),
  replica: text.map(name => name as ReplicaId),
  shard: count.map(number => number as ShardId),
  generation: arbitraryGeneration,
  address: fc.webUrl(),
  partitions: fc.array(arbitraryPartition),
  state: arbitraryReplicaState,
  applied: arbitraryOffsets,
  watermarks: arbitraryOffsets,
  indexAgeMs: fc.double(),
  startedAtMs: timeMs,
  sequence: long,
  writtenAtMs: timeMs,
})
