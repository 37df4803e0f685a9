import type { CatalogEvent } from '../catalog-event.ts'
import type { ControlRecord } from '../control.ts'
import type { DeadLetter } from '../dead-letter.ts'
import type { EngagementRecord } from '../engagement.ts'
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
} from '../ids.ts'
import type { Mutation } from '../mutation.ts'
import { subjects } from '../topics.ts'
import { encodeF16 } from '../unit-vector.ts'

const itemId = 'lamp/42 🛋️' as ItemId
const epoch = '0f1e2d3c4b5a6978' as TopicEpoch
const version = { epoch, offset: 4_294_967_297 as Offset }
const fingerprint = 'ab'.repeat(32) as Fingerprint
const generation = 'v2-2026' as Generation
const images = ['https://img.example.com/42.jpg', `blob:${'0c'.repeat(32)}`]
const imageIdentity = JSON.stringify(['7', ...images])
const atMs = 1_767_225_600_123
const traceparent = '00-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01'
const attributes = {
  title: 'Stehleuchte „Föhr“',
  category: 'lamps',
  price: 129.95,
  currency: 'EUR',
  regions: ['de', 'at'],
  available: false,
  attributes: { colour: 'brass', watts: 40, dimmable: true },
}
const decision = { decidedAfter: -1 as Offset, by: 'anna', atMs, reason: 'better recall' }

const catalog: readonly CatalogEvent[] = [
  { type: 'TopicEpoch', epoch },
  { type: 'ItemUpserted', itemId, images, imageVersion: '7', refresh: true, ...attributes },
  { type: 'ItemDeleted', itemId },
]

const mutations: readonly Mutation[] = [
  {
    type: 'ObjectsPut',
    itemId,
    version,
    imageIdentity,
    imageDigests: ['0d'.repeat(32) as ImageDigest, '0c'.repeat(32) as ImageDigest],
    fingerprint,
    objects: [
      { box: [0, 0, 1, 1], label: '', score: 1, image: 0, vector: encodeF16([0.5, -0.5, 0.5, 0.5]) },
      { box: [0.125, 0.25, 0.5, 0.875], label: 'toilet', score: 0.75, image: 1, vector: encodeF16([0, 0, -1, 0]) },
    ],
  },
  { type: 'AttributesPut', itemId, version, images, imageVersion: '7', ...attributes, acceptedAtMs: atMs },
  { type: 'ItemRemoved', itemId, version, acceptedAtMs: atMs },
  {
    type: 'WorkFailed',
    itemId,
    version,
    imageIdentity,
    stage: 'fetch',
    code: 'image-host-busy',
    message: 'img.example.com answered 503',
    retryable: true,
    attempts: 4,
  },
  {
    type: 'Watermark',
    partition: 3 as Partition,
    offset: 4_294_967_296 as Offset,
    oldestPendingTimeMs: atMs,
    endOffset: 4_294_967_300 as Offset,
    writtenAtMs: atMs + 250,
  },
]

const control: readonly ControlRecord[] = [
  { type: 'ModelRegistered', ...decision, model: 'v2', fingerprint, dims: 384, manifest: '{"files":[]}' },
  {
    type: 'GenerationStarted',
    ...decision,
    generation,
    model: 'v2',
    fingerprint,
    dims: 384,
    shards: 2,
    backfillUntil: [17 as Offset, 4_294_967_297 as Offset],
    topicEpoch: epoch,
    from: 'v1-2025' as Generation,
    weights: 'warm-2026',
    index: '{"segments":"compressed"}',
    imagesPerSecond: 12.5,
  },
  { type: 'CanaryPassed', ...decision, generation, evidence: '{"recallAt10":0.97}', digest: '0f'.repeat(32) },
  {
    type: 'CutoverCertified',
    ...decision,
    generation,
    against: 'v1-2025' as Generation,
    evidence: '{"cuts":[]}',
    digest: 'f0'.repeat(32),
  },
  {
    type: 'RoutingChanged',
    ...decision,
    shares: { 'v1-2025': 0.95, [generation]: 0.05 },
    override: 'the canary bench is away',
    rebuilds: { [generation]: { phase: 'paused', imagesPerSecond: 12.5 } },
  },
  { type: 'GenerationRetired', ...decision, generation, override: 'disk is needed' },
]

const engagement: readonly EngagementRecord[] = [
  { type: 'ResultsShown', queryId: 'q-1', generation, atMs, itemIds: [itemId, 'sofa-1'], session: '5f3a' },
  { type: 'Engaged', queryId: 'q-1', itemId, action: 'notRelevant', position: 0, atMs },
]

const deadLetters: readonly DeadLetter[] = [
  {
    type: 'DeadLetter',
    sourceTopic: 'freshet.catalog',
    sourcePartition: 3,
    sourceOffset: 4_294_967_297,
    generation,
    stage: 'embed',
    code: 'decoder-crashed',
    message: 'the model process died',
    attempts: 5,
    failedAtMs: atMs,
    traceparent,
    key: new Uint8Array(Buffer.from(itemId)),
    value: Uint8Array.of(0, 0, 0, 0, 1, 4, 0xff),
    job: {
      generation,
      itemId,
      partition: 3 as Partition,
      version,
      imageIdentity,
      images,
      refresh: true,
      acceptedAtMs: atMs,
      pendingSinceMs: atMs + 1,
      traceparent,
    },
  },
]

const heartbeats: readonly Heartbeat[] = [
  {
    type: 'Heartbeat',
    role: 'shard',
    replica: 'v2-2026-1-b' as ReplicaId,
    shard: 1 as ShardId,
    generation,
    address: 'https://shard-1-b.example.com:7490',
    partitions: [1 as Partition, 3 as Partition],
    state: 'catching-up',
    applied: { 1: 4_294_967_300 as Offset, 3: 0 as Offset },
    watermarks: { 1: 4_294_967_297 as Offset, 3: -1 as Offset },
    indexAgeMs: 812.5,
    startedAtMs: atMs,
    sequence: 42,
    writtenAtMs: atMs + 42_250,
  },
]

/** A record of each type of each subject, no field at its default: what golden files are made of. */
export const sampleRecords: Readonly<Record<string, readonly { readonly type: string }[]>> = {
  [subjects.catalog]: catalog,
  [subjects.mutations]: mutations,
  [subjects.control]: control,
  [subjects.engagement]: engagement,
  [subjects.deadLetters]: deadLetters,
  [subjects.heartbeats]: heartbeats,
}
