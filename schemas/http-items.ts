import { type Static, Type } from '@sinclair/typebox'
import {
  AttributeValueShape,
  closed,
  ErrorCodeShape,
  ErrorDetailShape,
  list,
  nullable,
  OffsetShape,
  words,
} from './http-shape.ts'

/** Requests and answers of the write side; the one source of validation, OpenAPI and the client's types. */

export const maxImagesPerItem = 16
/** NDJSON: the longest line of `POST /v1/items`. */
export const maxLineBytes = 1024 * 1024
/** Longest `timeoutMs` of `?wait=searchable`. */
export const maxWaitMs = 60_000

const blobPattern = '^blob:[0-9a-f]{64}$'
export const exampleBlob = `blob:${'9f86d081884c7d659a2feaa0c55ad015'.repeat(2)}`
const exampleReceipt = 'AXqRk0aM3gRPAAAAAAAEEQAAAZr2yvC4c29mYS0xN5nOQ1c'
export const exampleItem = {
  itemId: 'sofa-17',
  images: [exampleBlob],
  title: 'Three-seat sofa in grey linen',
  category: 'sofa',
  price: 749,
  currency: 'EUR',
  regions: ['de', 'fr'],
  available: true,
  attributes: { material: 'linen', seats: 3 },
}

export const BlobReference = Type.String({
  pattern: blobPattern,
  description: 'reference to an uploaded image, blob:<sha256>',
  examples: [exampleBlob],
})

const itemFields = {
  imageUrl: Type.Optional(
    Type.String({ minLength: 1, maxLength: 8192, description: 'short for images with one entry; give one of the two' }),
  ),
  images: Type.Optional(
    list(Type.String({ minLength: 1, maxLength: 8192 }), {
      maxItems: maxImagesPerItem,
      description: 'references in order of importance: https:, http:, blob:<sha256>, file: under a configured root',
    }),
  ),
  imageVersion: Type.Optional(
    Type.String({ maxLength: 512, description: 'same references, new bytes: change this', default: '' }),
  ),
  refresh: Type.Optional(
    Type.Boolean({ description: 'fetch the images again although the references are unchanged', default: false }),
  ),
  title: Type.Optional(Type.String({ maxLength: 4000, default: '' })),
  category: Type.Optional(Type.String({ maxLength: 512, default: '' })),
  price: Type.Optional(
    nullable(Type.Number({ minimum: 0 }), {
      description: 'a number of zero or more in units of currency, or null when unknown',
      default: null,
    }),
  ),
  currency: Type.Optional(
    Type.String({ pattern: '^([A-Z]{3})?$', description: 'ISO 4217 code in capitals, or empty', default: '' }),
  ),
  regions: Type.Optional(list(Type.String({ minLength: 1, maxLength: 64 }), { maxItems: 512, default: [] })),
  available: Type.Optional(Type.Boolean({ default: true })),
  attributes: Type.Optional(
    Type.Record(Type.String({ minLength: 1, maxLength: 256 }), AttributeValueShape, { default: {} }),
  ),
}

/** Body of `PUT /v1/items/{id}`: the item's full state. Omitted fields take their defaults, not their old values. */
export const ItemBody = Type.Object(
  {
    itemId: Type.Optional(Type.String({ description: 'may be left out; must equal the id in the path' })),
    ...itemFields,
  },
  { ...closed, $id: 'ItemBody', examples: [exampleItem] },
)
export type ItemBody = Static<typeof ItemBody>

export const Item = Type.Object(
  { itemId: Type.String({ description: '1 to 512 bytes of UTF-8 without control characters' }), ...itemFields },
  { ...closed, $id: 'Item', examples: [exampleItem] },
)
export type Item = Static<typeof Item>

export const UpsertLine = Type.Object({ upsert: Item }, closed)
export const DeleteLine = Type.Object({ delete: Type.Object({ itemId: Type.String() }, closed) }, closed)
export const DeletedItemLine = Type.Object({ itemId: Type.String(), deleted: Type.Literal(true) }, closed)

/** One line of `POST /v1/items`; a bare item is an upsert too. */
export const BulkLine = Type.Union([UpsertLine, DeleteLine, DeletedItemLine, Item], {
  $id: 'BulkLine',
  description: 'an item, {"upsert": item}, {"delete": {"itemId": …}} or {"itemId": …, "deleted": true}',
  examples: [{ upsert: exampleItem }, { delete: { itemId: 'sofa-18' } }],
})
export type BulkLine = Static<typeof BulkLine>

const exampleAccepted = { receipt: exampleReceipt, itemId: 'sofa-17', partition: 3, version: '1041' }

/** The event is durable in the catalog topic; the receipt tells what becomes of it. */
export const Accepted = Type.Object(
  { receipt: Type.String(), itemId: Type.String(), partition: Type.Integer(), version: OffsetShape },
  { $id: 'Accepted', examples: [exampleAccepted] },
)
export type Accepted = Static<typeof Accepted>

const lineNumber = Type.Integer({ minimum: 1, description: 'counts the lines sent, from 1' })

/** One line of the answer to `POST /v1/items`, in order of the lines sent. */
export const BulkAnswer = Type.Union(
  [
    Type.Object({ line: lineNumber, receipt: Type.String() }, closed),
    Type.Object({ line: lineNumber, error: ErrorDetailShape }, closed),
  ],
  { $id: 'BulkAnswer', examples: [{ line: 1, receipt: exampleReceipt }] },
)
export type BulkAnswer = Static<typeof BulkAnswer>

export const WriteQuery = Type.Object(
  {
    wait: Type.Optional(
      words(['searchable'], { description: 'searchable: answer when the event is searchable, removed or superseded' }),
    ),
    timeoutMs: Type.Optional(
      Type.Integer({
        minimum: 0,
        maximum: maxWaitMs,
        default: 10_000,
        description: 'longest wait; then 202 with how far it got',
      }),
    ),
  },
  closed,
)
export type WriteQuery = Static<typeof WriteQuery>

/** `accepted` → `embedded` → `searchable`, or `removed`, `superseded`, `failed`; the last four are final. */
export const EventStatus = words(['accepted', 'embedded', 'searchable', 'removed', 'superseded', 'failed'], {
  $id: 'EventStatus',
  description:
    'accepted: durable in the catalog; embedded: vectors are on a replica; searchable: on all routable replicas; ' +
    'removed: the item is deleted; superseded: a newer event of the item has passed it; failed: its image work failed',
})
export type EventStatus = Static<typeof EventStatus>

export const FailureShape = Type.Object(
  {
    code: ErrorCodeShape,
    message: Type.String(),
    retryable: Type.Boolean({ description: 'true: still tried in the background; false: in the dead letters' }),
  },
  { $id: 'Failure', examples: [{ code: 'image-corrupt', message: 'premature end of JPEG', retryable: false }] },
)

const ReplicaReceipt = Type.Object({
  shard: Type.Integer(),
  replica: Type.String(),
  /** A replica that does not answer is not routable and holds nothing up. */
  status: words(['accepted', 'embedded', 'searchable', 'removed', 'superseded', 'failed', 'unreachable']),
  atMs: nullable(Type.Number(), { description: 'when the replica got there; exact for the last hour, else null' }),
  failure: nullable(FailureShape),
  stale: Type.Boolean({ description: 'an older picture of the item is searchable meanwhile' }),
})

export const Receipt = Type.Object(
  {
    receipt: Type.String(),
    itemId: Type.String(),
    partition: Type.Integer(),
    version: OffsetShape,
    acceptedAtMs: Type.Number({ description: 'when the catalog topic accepted the event' }),
    status: EventStatus,
    failure: nullable(FailureShape),
    stale: Type.Boolean(),
    generations: list(
      Type.Object({
        generation: Type.String(),
        share: Type.Number({ description: 'share of the queries, 0 to 1; those without one do not decide the status' }),
        status: EventStatus,
        replicas: list(ReplicaReceipt),
      }),
    ),
  },
  {
    $id: 'Receipt',
    examples: [
      {
        ...exampleAccepted,
        acceptedAtMs: 1_760_000_000_000,
        status: 'searchable',
        failure: null,
        stale: false,
        generations: [
          {
            generation: 'g1',
            share: 1,
            status: 'searchable',
            replicas: [
              {
                shard: 0,
                replica: 'g1-0-a',
                status: 'searchable',
                atMs: 1_760_000_000_210,
                failure: null,
                stale: false,
              },
            ],
          },
        ],
      },
    ],
  },
)
export type Receipt = Static<typeof Receipt>

export const StoredBlob = Type.Object(
  { blob: BlobReference, bytes: Type.Integer({ minimum: 1 }) },
  { $id: 'StoredBlob', examples: [{ blob: exampleBlob, bytes: 48_213 }] },
)
export type StoredBlob = Static<typeof StoredBlob>

export const Engagement = Type.Object(
  {
    queryId: Type.String({ minLength: 1, maxLength: 128 }),
    itemId: Type.String(),
    action: words(['click', 'save', 'cart', 'purchase', 'notRelevant', 'relevant'], {
      description: '`relevant` takes a `notRelevant` back',
    }),
    position: Type.Integer({
      minimum: 0,
      maximum: 10_000,
      description: 'place of the item in the results, from 0; rates go by the place in the answer itself',
    }),
  },
  {
    ...closed,
    $id: 'Engagement',
    examples: [{ queryId: '0198c1d2', itemId: 'sofa-17', action: 'click', position: 2 }],
  },
)
export type Engagement = Static<typeof Engagement>

export const EngagementBatch = Type.Object(
  { engagements: list(Engagement, { minItems: 1, maxItems: 500 }) },
  {
    ...closed,
    $id: 'EngagementBatch',
    examples: [{ engagements: [{ queryId: '0198c1d2', itemId: 'sofa-17', action: 'click', position: 2 }] }],
  },
)
export type EngagementBatch = Static<typeof EngagementBatch>

export const EngagementAccepted = Type.Object(
  { accepted: Type.Integer() },
  { $id: 'EngagementAccepted', examples: [{ accepted: 1 }] },
)
export type EngagementAccepted = Static<typeof EngagementAccepted>
