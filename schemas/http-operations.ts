import { type Static, Type } from '@sinclair/typebox'
import { closed, ErrorCodeShape, list, nullable, OffsetShape, OffsetsShape, words } from './http-shape.ts'

/** Answers of status, events and administration; the one source of OpenAPI and the client's types. */

const DigestShape = Type.Object({ set: Type.String(), objects: Type.String() }, { $id: 'Digest' })
const exampleDigest = { set: '00000000000000000000000000000000', objects: '00000000000000000000000000000000' }

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
  searchMs: Type.Object({ count: Type.Integer(), p50: Type.Number(), p99: Type.Number() }),
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
    generations: list(GenerationShape),
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
        generations: [exampleGeneration],
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
                searchMs: { count: 31, p50: 0.6, p99: 1.9 },
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

export const GenerationList = Type.Object(
  { generations: list(GenerationShape) },
  { $id: 'GenerationList', examples: [{ generations: [exampleGeneration] }] },
)
export type GenerationList = Static<typeof GenerationList>

export const ModelList = Type.Object(
  {
    models: list(
      Type.Object({ model: Type.String(), fingerprint: Type.String(), dims: Type.Integer() }, { $id: 'Model' }),
    ),
  },
  { $id: 'ModelList', examples: [{ models: [{ model: 'v1', fingerprint: 'ab'.repeat(32), dims: 256 }] }] },
)
export type ModelList = Static<typeof ModelList>

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

export const BackupAnswer = Type.Object(
  { directory: Type.String(), bytes: Type.Integer(), tookMs: Type.Number() },
  { $id: 'BackupAnswer', examples: [{ directory: '/var/backups/freshet-1', bytes: 73_400_320, tookMs: 812 }] },
)
export type BackupAnswer = Static<typeof BackupAnswer>
