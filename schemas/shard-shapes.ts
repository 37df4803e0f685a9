import { type Static, type TObject, Type } from '@sinclair/typebox'
import { AttributeValueShape, BoxShape, closed, ErrorDetailShape, list, nullable, words } from './http-shape.ts'
import type { ItemId } from './ids.ts'
import { digestBuckets } from './partition-digest.ts'
import type {
  CutTaken,
  ItemAtCut,
  ItemRegisters,
  ReplicaStatus,
  ShardSearchRequest,
  ShardSearchResult,
} from './shard-api.ts'

/**
 * Shapes of what gateways and shard replicas tell each other. Not the public API: offsets are numbers, since they are
 * safe integers here, and fields that a newer version adds to an answer are passed over.
 */

/** How many results one search may ask for. */
const maxK = 1_000
const maxBatch = 256
/** Of vectors of 4,096 components as base64. */
const maxVectorText = 21_848

const Offset = Type.Integer({ minimum: -1, maximum: Number.MAX_SAFE_INTEGER })
const Offsets = Type.Record(Type.String({ pattern: '^[0-9]+$' }), Offset)
const Count = Type.Integer({ minimum: 0 })
const Bytes = Type.Number({ minimum: 0 })
const Ms = Type.Number()
const TimeMs = nullable(Type.Number())

/** f32 components, little-endian, as base64. */
export const VectorText = Type.String({ pattern: '^[A-Za-z0-9+/]*={0,2}$', maxLength: maxVectorText })

const FilterWire = Type.Object(
  {
    category: Type.Optional(list(Type.String())),
    region: Type.Optional(list(Type.String())),
    available: Type.Optional(Type.Boolean()),
    price: Type.Optional(Type.Object({ min: Type.Optional(Type.Number()), max: Type.Optional(Type.Number()) }, closed)),
    attributes: Type.Optional(Type.Record(Type.String(), list(AttributeValueShape))),
  },
  closed,
)

const requestFields = {
  generation: Type.String({ pattern: '^[a-z0-9-]{1,40}$' }),
  fingerprint: Type.String({ pattern: '^[0-9a-f]{64}$' }),
  vector: VectorText,
  k: Type.Integer({ minimum: 1, maximum: maxK }),
  filter: Type.Optional(FilterWire),
  exact: Type.Optional(Type.Boolean()),
  excludeItem: Type.Optional(Type.String({ minLength: 1 })),
  explain: Type.Optional(Type.Boolean()),
}

/** A field that this version does not know could change what is searched for: refused. */
export const SearchRequestWire = Type.Unsafe<Omit<ShardSearchRequest, 'vector'> & { readonly vector: string }>(
  Type.Object(requestFields, closed),
)
export const SearchBatchWire = Type.Object({ requests: list(SearchRequestWire, { maxItems: maxBatch }) }, closed)

export const snapshotFields = {
  itemId: Type.String({ minLength: 1 }),
  title: Type.String(),
  category: Type.String(),
  price: nullable(Type.Number()),
  currency: Type.String(),
  regions: list(Type.String()),
  available: Type.Boolean(),
  // Null where the catalogue had a number that JSON cannot write.
  attributes: Type.Record(Type.String(), nullable(AttributeValueShape)),
  images: list(Type.String()),
  imageDigests: list(Type.String()),
  stale: Type.Boolean(),
  version: Offset,
}
const Snapshot = Type.Object(snapshotFields)

const Plan = words(['graph', 'scan', 'exact'])

const Explanation = Type.Object({
  kind: Plan,
  selectivity: Type.Number(),
  effort: Type.Number(),
  segments: list(Type.Object({ rows: Count, by: words(['graph', 'codes', 'vectors']), scored: Count })),
})

/**
 * A hit of a batch as a row without names: a search is asked for hundreds of them, and their names would be half of what
 * is read. Single searches have a quicker form, see `shard-wire-hits.ts`. The item's id, similarity, box, label and image of the object, then the item's fields from its title on.
 */
const HitRow = Type.Tuple([
  snapshotFields.itemId,
  Type.Number(),
  BoxShape,
  Type.String(),
  Count,
  snapshotFields.title,
  snapshotFields.category,
  snapshotFields.price,
  snapshotFields.currency,
  snapshotFields.regions,
  snapshotFields.available,
  snapshotFields.attributes,
  snapshotFields.images,
  snapshotFields.imageDigests,
  snapshotFields.stale,
  snapshotFields.version,
])
export type HitRow = Static<typeof HitRow>

/** Of an answer but for its hits. */
export const resultFields = {
  watermarks: Offsets,
  indexAgeMs: Ms,
  plan: Plan,
  explain: Type.Optional(Explanation),
}

/** One answer of a batch. */
export const SearchResultWire = Type.Unsafe<Omit<ShardSearchResult, 'hits'> & { readonly hits: readonly HitRow[] }>(
  Type.Object({ hits: list(HitRow), ...resultFields }),
)
export const SearchResultsWire = Type.Object({ results: list(SearchResultWire) })

export const RegistersWire = Type.Unsafe<ItemRegisters>(
  Type.Object({
    attributes: Offset,
    objects: Offset,
    removal: Offset,
    failure: Offset,
    failureDetail: nullable(Type.Object({ code: Type.String(), message: Type.String(), retryable: Type.Boolean() })),
    searchable: Type.Boolean(),
    objectList: list(Type.Object({ box: BoxShape, label: Type.String(), score: Type.Number(), image: Count })),
    snapshot: nullable(Snapshot),
    watermark: Offset,
    times: Type.Object({ attributesMs: TimeMs, objectsMs: TimeMs, removalMs: TimeMs, failureMs: TimeMs }),
  }),
)

export const VectorWire = Type.Object({ vector: nullable(VectorText) })

const Digest = Type.Object({
  set: Type.String({ pattern: '^[0-9a-f]{32}$' }),
  objects: Type.String({ pattern: '^[0-9a-f]{32}$' }),
})

const kept = <Unit extends string>(perUnit: Unit): TObject =>
  Type.Object({ memoryBytes: Bytes, diskBytes: Bytes, [perUnit]: Bytes })

export const StatusWire = Type.Unsafe<ReplicaStatus>(
  Type.Object({
    shard: Count,
    replica: Type.String(),
    generation: Type.String(),
    state: words(['starting', 'catching-up', 'ready', 'refusing', 'stopped']),
    reason: nullable(Type.String()),
    applied: Offsets,
    watermark: Offsets,
    indexAgeMs: Ms,
    items: Type.Object({ searchable: Count, pending: Count, failed: Count, deleted: Count }),
    rows: Count,
    tombstones: Count,
    segments: Count,
    memoryBytes: Bytes,
    digests: Type.Record(Type.String(), Digest),
    vectors: Type.Object({
      dims: Count,
      count: Count,
      normMin: Type.Number(),
      normMax: Type.Number(),
      normMean: Type.Number(),
    }),
    searchMs: Type.Object({
      count: Count,
      sumMs: Ms,
      p50: Ms,
      p99: Ms,
      buckets: list(Type.Object({ upToMs: nullable(Ms), count: Count })),
    }),
    checkpoint: Type.Object({ writtenAtMs: TimeMs, bytes: Bytes }),
    storage: Type.Object({
      graphs: Count,
      scannedRows: Count,
      vectors: kept('memoryPerVector'),
      items: kept('memoryPerItem'),
    }),
    recall: nullable(
      Type.Object({ measured: nullable(Type.Number()), samples: Count, effort: Type.Number(), cpuMs: Ms }),
    ),
  }),
)

export const ChangedWire = Type.Object({ changed: Type.Boolean() })

const mostCutItems = 10_000

export const CutOrder = Type.Object({ partition: Count, offset: Offset }, closed)
const CutName = Type.String({ minLength: 1, maxLength: 64 })
export const CutItemsOrder = Type.Unsafe<{ readonly cut: string; readonly itemIds: readonly ItemId[] }>(
  Type.Object({ cut: CutName, itemIds: list(Type.String({ minLength: 1 }), { maxItems: mostCutItems }) }, closed),
)
export const CutBucketOrder = Type.Object(
  { cut: CutName, bucket: Type.Integer({ minimum: 0, maximum: digestBuckets - 1 }) },
  closed,
)
export const CutEndOrder = Type.Object({ cut: CutName }, closed)

const Element = Type.String({ pattern: '^[0-9a-f]{32}$' })
const CutItem = Type.Object({
  itemId: Type.String({ minLength: 1 }),
  attributes: Offset,
  objects: nullable(Element),
  failed: Type.Boolean(),
  ahead: Type.Boolean(),
})
const Sums = list(Element, { minItems: digestBuckets, maxItems: digestBuckets })

export const CutWire = Type.Unsafe<CutTaken>(
  Type.Object({
    cut: CutName,
    partition: Count,
    offset: Offset,
    live: Count,
    buckets: Type.Object({ set: Sums, objects: Sums }),
    listed: list(CutItem),
  }),
)
export const CutItemsWire = Type.Unsafe<{ readonly items: readonly ItemAtCut[] }>(Type.Object({ items: list(CutItem) }))

export const SnapshotOrder = Type.Object({ directory: Type.String({ minLength: 1 }) }, closed)

export const DoneWire = Type.Object({ ok: Type.Literal(true) })

export const ErrorWire = Type.Object({ error: ErrorDetailShape })
