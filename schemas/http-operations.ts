import { type Static, Type } from '@sinclair/typebox'
import { closed, ErrorCodeShape, list, nullable, OffsetShape, OffsetsShape, words } from './http-shape.ts'

/** Answers of status, events and administration; the one source of OpenAPI and the client's types. */

const DigestShape = Type.Object({ set: Type.String(), objects: Type.String() }, { $id: 'Digest' })
const exampleDigest = { set: '00000000000000000000000000000000', objects: '00000000000000000000000000000000' }

const StorageShape = Type.Object(
  {
    graphs: Type.Integer({ description: 'segments of the index with a graph' }),
    scannedRows: Type.Integer({ description: 'rows in segments without one, whose codes every search compares' }),
    vectors: Type.Object({
      memoryBytes: Type.Number(),
      diskBytes: Type.Number(),
      memoryPerVector: Type.Number({ description: 'bytes' }),
    }),
    items: Type.Object({
      memoryBytes: Type.Number(),
      diskBytes: Type.Number(),
      memoryPerItem: Type.Number({ description: 'bytes' }),
    }),
  },
  { $id: 'Storage' },
)

const VectorsShape = Type.Object(
  {
    dims: Type.Integer(),
    count: Type.Integer(),
    normMin: Type.Number(),
    normMax: Type.Number(),
    normMean: Type.Number(),
  },
  { $id: 'Vectors' },
)

const RecallShape = Type.Object(
  {
    measured: nullable(Type.Number(), { description: 'mean of the latest samples, 0 to 1' }),
    samples: Type.Integer(),
    effort: Type.Integer({ description: 'graph candidates asked of a segment of 200,000 rows' }),
    cpuMs: Type.Number({ description: 'CPU time of the exact answers since the start' }),
  },
  { $id: 'Recall' },
)

const ReplicaView = Type.Object({
  id: Type.String(),
  generation: Type.String(),
  state: words(['starting', 'catching-up', 'ready', 'refusing', 'stopped', 'unreachable']),
  reason: nullable(Type.String()),
  applied: OffsetsShape,
  watermark: OffsetsShape,
  indexAgeMs: Type.Number(),
  rows: Type.Integer(),
  tombstones: Type.Integer(),
  segments: Type.Integer(),
  memoryBytes: Type.Number(),
  /** Sum over the partitions; equal digests mean equal contents. */
  digest: DigestShape,
  searchMs: Type.Object({
    count: Type.Integer(),
    sumMs: Type.Number(),
    p50: Type.Number(),
    p99: Type.Number(),
    buckets: list(Type.Object({ upToMs: nullable(Type.Number()), count: Type.Integer() }), {
      description: 'how many searches took at most so long; null: any time',
    }),
  }),
  storage: StorageShape,
  vectors: VectorsShape,
  checkpoint: Type.Object({ writtenAtMs: nullable(Type.Number()), bytes: Type.Integer() }),
  recall: nullable(RecallShape, { description: 'null while nothing measures it' }),
})

const ItemCounts = Type.Object(
  { searchable: Type.Integer(), pending: Type.Integer(), failed: Type.Integer(), deleted: Type.Integer() },
  { $id: 'ItemCounts' },
)

const GenerationShape = Type.Object(
  {
    id: Type.String(),
    model: Type.String(),
    fingerprint: Type.String(),
    dims: Type.Integer(),
    state: Type.String({ description: 'building, verifying, canary, serving, active, standby or retired' }),
    share: Type.Number({ description: 'share of the queries, 0 to 1' }),
  },
  { $id: 'Generation' },
)
const exampleGeneration = { id: 'g1', model: 'v1', fingerprint: 'ab'.repeat(32), dims: 256, state: 'active', share: 1 }

/** A generation, how its shards are, and whether the gateway that is asked can ask it. */
const RoutedGeneration = Type.Object(
  {
    ...GenerationShape.properties,
    items: Type.Optional(ItemCounts),
    indexAgeMs: Type.Optional(
      nullable(Type.Number(), { description: 'of the stalest of its shards; null while one of them has no replica' }),
    ),
    replicas: Type.Optional(Type.Object({ ready: Type.Integer(), total: Type.Integer() })),
    held: Type.Optional(
      Type.Boolean({
        description: 'this gateway has its model and its ranking weights; else pictures of its queries go elsewhere',
      }),
    ),
  },
  { $id: 'RoutedGeneration' },
)

const PipelineShape = Type.Object(
  {
    queue: Type.Object({
      live: Type.Integer(),
      standby: Type.Integer(),
      backfill: Type.Integer(),
      delayed: Type.Integer(),
      claimed: Type.Integer(),
    }),
    processes: list(
      Type.Object({
        name: Type.String(),
        pid: nullable(Type.Integer()),
        state: words(['starting', 'running', 'restarting', 'stopped']),
        restarts: Type.Integer(),
      }),
    ),
    alarms: list(Type.Object({ code: ErrorCodeShape, message: Type.String(), sinceMs: Type.Number() })),
    deadLetters: Type.Integer(),
  },
  { $id: 'Pipeline' },
)

export const Status = Type.Object(
  {
    ready: Type.Boolean(),
    items: ItemCounts,
    indexAgeMs: Type.Number({
      description: 'age of the oldest event that is not searchable yet; 0 when there is none',
    }),
    rates: Type.Unsafe<Readonly<Record<string, number>>>(
      Type.Record(Type.String(), Type.Number(), { description: 'per second over the last ten seconds' }),
    ),
    generations: list(RoutedGeneration),
    shards: list(Type.Object({ shard: Type.Integer(), replicas: list(ReplicaView) })),
    pipeline: PipelineShape,
    atMs: Type.Number(),
  },
  {
    $id: 'Status',
    examples: [
      {
        ready: true,
        items: { searchable: 820, pending: 0, failed: 0, deleted: 3 },
        indexAgeMs: 0,
        rates: { accepted: 0, searches: 0.4, searchable: 0 },
        generations: [
          {
            ...exampleGeneration,
            items: { searchable: 820, pending: 0, failed: 0, deleted: 3 },
            indexAgeMs: 0,
            replicas: { ready: 1, total: 1 },
            held: true,
          },
        ],
        shards: [
          {
            shard: 0,
            replicas: [
              {
                id: 'g1-0-a',
                generation: 'g1',
                state: 'ready',
                reason: null,
                applied: { 0: '1650' },
                watermark: { 0: '823' },
                indexAgeMs: 0,
                rows: 1640,
                tombstones: 12,
                segments: 1,
                memoryBytes: 1_400_000,
                digest: exampleDigest,
                searchMs: {
                  count: 31,
                  sumMs: 21.4,
                  p50: 0.6,
                  p99: 1.9,
                  buckets: [
                    { upToMs: 1, count: 28 },
                    { upToMs: null, count: 31 },
                  ],
                },
                storage: {
                  graphs: 0,
                  scannedRows: 1652,
                  vectors: { memoryBytes: 1_300_000, diskBytes: 1_000_000, memoryPerVector: 793 },
                  items: { memoryBytes: 100_000, diskBytes: 600_000, memoryPerItem: 121 },
                },
                vectors: { dims: 256, count: 1640, normMin: 0.9997, normMax: 1.0003, normMean: 1 },
                checkpoint: { writtenAtMs: 1_760_000_000_000, bytes: 1_600_000 },
                recall: { measured: 0.996, samples: 12, effort: 40, cpuMs: 31 },
              },
            ],
          },
        ],
        pipeline: {
          queue: { live: 0, standby: 0, backfill: 0, delayed: 0, claimed: 0 },
          processes: [{ name: 'model-0', pid: 4242, state: 'running', restarts: 0 }],
          alarms: [],
          deadLetters: 0,
        },
        atMs: 1_760_000_000_000,
      },
    ],
  },
)
export type Status = Static<typeof Status>

const examplePoint = {
  atMs: 1_760_000_000_000,
  searches: 120,
  failed: 0,
  degraded: 0,
  withoutResults: 2,
  engaged: 31,
  similarity: 0.81,
  p50Ms: 64,
  p95Ms: 128,
}

export const QualityPoint = Type.Object(
  {
    atMs: Type.Number({ description: 'when it begins' }),
    searches: Type.Integer({ description: 'answered' }),
    failed: Type.Integer({ description: 'not answered, for a reason on the side of the server' }),
    degraded: Type.Integer({ description: 'answered, but not whole' }),
    withoutResults: Type.Integer(),
    engaged: Type.Integer({
      description: 'searches whose results were chosen from: clicked, saved or bought, as reported to this gateway',
    }),
    similarity: nullable(Type.Number(), {
      description: 'mean of the most similar result; models differ in it, so compare changes. null without results',
    }),
    p50Ms: nullable(Type.Number(), { description: 'to 26%; null without searches' }),
    p95Ms: nullable(Type.Number(), { description: 'to 26%; null without searches' }),
  },
  { $id: 'QualityPoint', examples: [examplePoint] },
)
export type QualityPoint = Static<typeof QualityPoint>

const exampleQuality = { id: 'g2', points: [examplePoint] }

export const GenerationQuality = Type.Object(
  {
    id: Type.String(),
    points: list(QualityPoint, { description: 'oldest first; times without searches are left out' }),
  },
  { $id: 'GenerationQuality', examples: [exampleQuality] },
)
export type GenerationQuality = Static<typeof GenerationQuality>

/** How the searches of each generation went. */
export const Quality = Type.Object(
  {
    slotMs: Type.Number({ description: 'how long a point stands for' }),
    generations: list(GenerationQuality),
  },
  {
    $id: 'Quality',
    description: 'of the searches of the last half hour that this gateway answered',
    examples: [{ slotMs: 10_000, generations: [exampleQuality] }],
  },
)
export type Quality = Static<typeof Quality>

/** `data` of the Server-Sent Event `status` on `GET /v1/events`. */
export const LiveEvent = Type.Object(
  {
    status: Status,
    /** Newest first. */
    recent: list(
      Type.Object({ itemId: Type.String(), title: Type.String(), blob: nullable(Type.String()), atMs: Type.Number() }),
    ),
  },
  { $id: 'LiveEvent' },
)
export type LiveEvent = Static<typeof LiveEvent>

const deadLetterFields = {
  id: Type.String(),
  itemId: nullable(Type.String()),
  sourceTopic: Type.String(),
  sourcePartition: Type.Integer(),
  sourceOffset: OffsetShape,
  generation: Type.String({ description: 'empty when no generation is concerned' }),
  stage: words(['dispatch', 'fetch', 'decode', 'embed', 'publish']),
  code: ErrorCodeShape,
  message: Type.String(),
  attempts: Type.Integer(),
  failedAtMs: Type.Number(),
  redrivable: Type.Boolean({ description: 'the letter holds a job that redrive can run again' }),
}
const exampleDeadLetter = {
  id: '3-17',
  itemId: 'sofa-17',
  sourceTopic: 'freshet.catalog',
  sourcePartition: 3,
  sourceOffset: '1041',
  generation: 'g1',
  stage: 'decode',
  code: 'image-corrupt',
  message: 'premature end of JPEG',
  attempts: 3,
  failedAtMs: 1_760_000_000_000,
  redrivable: true,
}

export const DeadLetterSummary = Type.Object(deadLetterFields, {
  $id: 'DeadLetterSummary',
  examples: [exampleDeadLetter],
})
export type DeadLetterSummary = Static<typeof DeadLetterSummary>

export const DeadLetterList = Type.Object(
  {
    deadLetters: list(DeadLetterSummary),
    next: nullable(Type.String(), { description: 'pass as after= for the next page; null at the end' }),
  },
  { $id: 'DeadLetterList', examples: [{ deadLetters: [exampleDeadLetter], next: null }] },
)
export type DeadLetterList = Static<typeof DeadLetterList>

export const DeadLetterDetail = Type.Object(
  {
    ...deadLetterFields,
    key: nullable(Type.String({ description: 'base64' })),
    value: nullable(Type.String({ description: 'base64' })),
    images: list(Type.String()),
    traceparent: Type.String(),
  },
  {
    $id: 'DeadLetterDetail',
    examples: [{ ...exampleDeadLetter, key: 'c29mYS0xNw==', value: null, images: [], traceparent: '' }],
  },
)
export type DeadLetterDetail = Static<typeof DeadLetterDetail>

export const DeadLetterQuery = Type.Object(
  {
    after: Type.Optional(Type.String({ maxLength: 8192, description: 'next of the page before' })),
    limit: Type.Optional(Type.Integer({ minimum: 1, maximum: 1000, default: 100 })),
  },
  closed,
)

export const Redriven = Type.Object(
  {
    redriven: Type.String(),
    outcome: words(['queued', 'superseded', 'done', 'foreign'], {
      description:
        'queued: runs again; superseded: a newer image or a delete exists; done: the image is embedded by now; ' +
        'foreign: of another generation or catalog, the letter stays open',
    }),
  },
  { $id: 'Redriven', examples: [{ redriven: '3-17', outcome: 'queued' }] },
)
export type Redriven = Static<typeof Redriven>
export const Dropped = Type.Object({ dropped: Type.String() }, { $id: 'Dropped', examples: [{ dropped: '3-17' }] })
export type Dropped = Static<typeof Dropped>

export const BackupRequest = Type.Object(
  {
    directory: Type.String({
      minLength: 1,
      maxLength: 4096,
      description: 'absolute path on the machine of the server; must be empty or not exist',
    }),
  },
  { ...closed, $id: 'BackupRequest', examples: [{ directory: '/var/backups/freshet-1' }] },
)
export type BackupRequest = Static<typeof BackupRequest>

export const SnapshotRequest = Type.Object(
  {
    directory: Type.String({
      minLength: 1,
      maxLength: 4096,
      description: 'absolute path on the machine of the server; each shard gets a new directory in it',
    }),
    shard: Type.Optional(Type.Integer({ minimum: 0, description: 'this shard only' })),
  },
  { ...closed, $id: 'SnapshotRequest', examples: [{ directory: '/var/snapshots/freshet-1' }] },
)
export type SnapshotRequest = Static<typeof SnapshotRequest>

export const SnapshotAnswer = Type.Object(
  {
    directory: Type.String(),
    shards: list(
      Type.Object({
        shard: Type.Integer(),
        replica: Type.String(),
        directory: Type.String(),
        bytes: Type.Integer(),
        tookMs: Type.Number(),
      }),
    ),
  },
  {
    $id: 'SnapshotAnswer',
    examples: [
      {
        directory: '/var/snapshots/freshet-1',
        shards: [
          {
            shard: 0,
            replica: 'g1-0-a',
            directory: '/var/snapshots/freshet-1/g1-0',
            bytes: 1_600_000,
            tookMs: 41.5,
          },
        ],
      },
    ],
  },
)
export type SnapshotAnswer = Static<typeof SnapshotAnswer>

export const BackupAnswer = Type.Object(
  { directory: Type.String(), bytes: Type.Integer(), tookMs: Type.Number() },
  { $id: 'BackupAnswer', examples: [{ directory: '/var/backups/freshet-1', bytes: 73_400_320, tookMs: 812 }] },
)
export type BackupAnswer = Static<typeof BackupAnswer>
