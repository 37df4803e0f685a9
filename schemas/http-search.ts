import { type Static, type TSchema, Type } from '@sinclair/typebox'
import { BlobReference, exampleBlob, exampleItem, FailureShape } from './http-items.ts'
import {
  AttributeValueShape,
  BoxShape,
  closed,
  list,
  nullable,
  OffsetShape,
  OffsetsShape,
  words,
} from './http-shape.ts'

/** Requests and answers of the read side; the one source of validation, OpenAPI and the client's types. */

export const defaultK = 24
export const maxK = 200
export const maxDeadlineMs = 60_000

const ImageInput = Type.Union(
  [
    Type.Object({ url: Type.String({ minLength: 1, maxLength: 8192 }) }, closed),
    Type.Object({ base64: Type.String({ minLength: 1 }) }, closed),
    Type.Object({ blob: BlobReference }, closed),
    Type.Object(
      {
        itemId: Type.String(),
        object: Type.Optional(
          Type.Integer({ minimum: 0, description: "index into the item's stored objects, 0 first" }),
        ),
      },
      closed,
    ),
  ],
  {
    description: 'one of {"url"}, {"base64"}, {"blob": "blob:<sha256>"} or {"itemId", "object"?}',
    examples: [{ blob: exampleBlob }],
  },
)

const k = Type.Integer({ minimum: 1, maximum: maxK, default: defaultK, description: `how many results, 1 to ${maxK}` })

const oneOrMore = (description: string) =>
  Type.Union([Type.String(), list(Type.String(), { minItems: 1, maxItems: 100 })], { description })

export const Filter = Type.Object(
  {
    category: Type.Optional(oneOrMore('a category or a list of them')),
    region: Type.Optional(oneOrMore('a region or a list of them: sold in at least one')),
    available: Type.Optional(Type.Boolean()),
    price: Type.Optional(Type.Object({ min: Type.Optional(Type.Number()), max: Type.Optional(Type.Number()) }, closed)),
    attributes: Type.Optional(
      Type.Record(
        Type.String({ minLength: 1, maxLength: 256 }),
        Type.Union([AttributeValueShape, list(AttributeValueShape, { minItems: 1, maxItems: 100 })], {
          description: 'a value or a list of values',
        }),
      ),
    ),
  },
  {
    ...closed,
    $id: 'Filter',
    description: 'hard filters; all given parts must hold',
    examples: [{ category: 'sofa' }],
  },
)
export type Filter = Static<typeof Filter>

/** Soft wishes, apart from the hard filters. */
export const Preference = Type.Object(
  {
    region: Type.Optional(Type.String({ minLength: 1, maxLength: 256, description: 'sold there is better' })),
    priceAround: Type.Optional(Type.Number({ exclusiveMinimum: 0, description: 'the closer the better' })),
    category: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 1024,
        description: 'instead of that of the query item or of most candidates',
      }),
    ),
  },
  {
    ...closed,
    $id: 'Preference',
    description: 'wishes that move a result by no more than the bound of the ranking; they exclude nothing',
    examples: [{ region: 'de', priceAround: 400 }],
  },
)
export type Preference = Static<typeof Preference>

/** What both `POST /v1/search` and the `query` part of its multipart form take. */
const queryFields = {
  box: Type.Optional(BoxShape),
  object: Type.Optional(Type.Integer({ minimum: 0, description: "index into this generation's detected objects" })),
  session: Type.Optional(
    Type.String({ minLength: 1, maxLength: 128, description: 'queries of one session stay on one generation' }),
  ),
  k: Type.Optional(k),
  filter: Type.Optional(Filter),
  generation: Type.Optional(Type.String({ pattern: '^[a-z0-9-]{1,40}$' })),
  exact: Type.Optional(Type.Boolean({ default: false, description: 'scan every vector instead of the graph' })),
  explain: Type.Optional(Type.Boolean({ default: false })),
  rerank: Type.Optional(
    Type.Boolean({
      default: true,
      description: 'false: the order is that of similarity alone. Else see `rankedBy` of the answer for the bound',
    }),
  ),
  collapse: Type.Optional(
    Type.Boolean({
      description: 'show near-identical products once, with `alike`; by default when results are re-ranked',
    }),
  ),
  prefer: Type.Optional(Preference),
  facets: Type.Optional(Type.Boolean({ default: false, description: 'count the candidates by what they are' })),
  excludeItemId: Type.Optional(Type.String({ description: 'an item never to return' })),
  deadlineMs: Type.Optional(
    Type.Integer({
      minimum: 1,
      maximum: maxDeadlineMs,
      description: 'time for the whole query; late shards are left out',
    }),
  ),
}

/** JSON in the `query` part of a multipart search; the file is in `image`. */
export const SearchQuery = Type.Object(queryFields, { ...closed, $id: 'SearchQuery', examples: [{ k: 10 }] })
export type SearchQuery = Static<typeof SearchQuery>

export const SearchRequest = Type.Object(
  {
    image: Type.Optional(ImageInput),
    vector: Type.Optional(
      list(Type.Number(), { minItems: 1, maxItems: 4096, description: 'instead of image: a unit vector' }),
    ),
    fingerprint: Type.Optional(Type.String({ description: 'of the model that made the vector' })),
    ...queryFields,
  },
  {
    ...closed,
    $id: 'SearchRequest',
    examples: [
      {
        image: { blob: exampleBlob },
        box: [0.1, 0.2, 0.6, 0.9],
        k: 12,
        filter: { category: ['sofa'], price: { max: 900 } },
      },
      { image: { itemId: 'sofa-17' }, excludeItemId: 'sofa-17' },
    ],
  },
)
export type SearchRequest = Static<typeof SearchRequest>

const detectFields = {
  session: queryFields.session,
  generation: queryFields.generation,
  deadlineMs: queryFields.deadlineMs,
}

export const DetectQuery = Type.Object(detectFields, { ...closed, $id: 'DetectQuery', examples: [{}] })
export type DetectQuery = Static<typeof DetectQuery>

export const DetectRequest = Type.Object(
  { image: ImageInput, ...detectFields },
  { ...closed, $id: 'DetectRequest', examples: [{ image: { blob: exampleBlob } }] },
)
export type DetectRequest = Static<typeof DetectRequest>

/** The label is always empty: detector class names are not for users (a lamp comes out as "toilet"). */
const label = Type.String({ description: 'always empty; kept for later use' })
const exampleBox = [0.1, 0.2, 0.6, 0.9]

const DetectedShape = Type.Object({ box: BoxShape, label, score: Type.Number() }, { $id: 'DetectedObject' })

const itemFields = {
  itemId: Type.String(),
  title: Type.String(),
  category: Type.String(),
  price: nullable(Type.Number()),
  currency: Type.String(),
  regions: list(Type.String()),
  available: Type.Boolean(),
  attributes: Type.Unsafe<Readonly<Record<string, string | number | boolean>>>(
    Type.Record(Type.String(), AttributeValueShape),
  ),
  images: list(Type.String()),
  /** Stored copies of the pictures the objects come from: `GET /v1/blobs/<sha256>`. */
  blobs: list(BlobReference),
  stale: Type.Boolean({ description: 'newer image work failed; the objects are of an older picture' }),
  version: OffsetShape,
}
const exampleView = {
  ...exampleItem,
  blobs: [exampleBlob],
  stale: false,
  version: '1041',
}

/** An item as search results show it. */
export const ItemView = Type.Object(itemFields, { $id: 'ItemView', examples: [exampleView] })
export type ItemView = Static<typeof ItemView>

const StoredObject = Type.Object({
  box: BoxShape,
  label,
  score: Type.Number(),
  image: Type.Integer({ description: "index into the item's images" }),
})

/** `GET /v1/items/{id}`: a live item, searchable or not yet. */
export const ItemState = Type.Object(
  {
    ...itemFields,
    generation: Type.String(),
    searchable: Type.Boolean(),
    objects: list(StoredObject),
    failure: nullable(FailureShape),
  },
  {
    $id: 'ItemState',
    examples: [
      {
        ...exampleView,
        generation: 'g1',
        searchable: true,
        objects: [{ box: [0, 0, 1, 1], label: '', score: 1, image: 0 }],
        failure: null,
      },
    ],
  },
)
export type ItemState = Static<typeof ItemState>

export const rankingParts = [
  'similarity',
  'availability',
  'region',
  'price',
  'category',
  'clickRate',
  'saveRate',
  'relevance',
] as const
export type RankingPart = (typeof rankingParts)[number]

/** One part of a score. The score is the sum of the contributions. */
const RankingPartShape = Type.Object(
  {
    part: words(rankingParts),
    value: Type.Number({ description: '0 to 1; similarity: -1 to 1' }),
    weight: Type.Number(),
    contribution: Type.Number({ description: 'value times weight' }),
  },
  { $id: 'RankingPart', examples: [{ part: 'availability', value: 1, weight: 0.012, contribution: 0.012 }] },
)

export const SearchResult = Type.Object(
  {
    itemId: Type.String(),
    score: Type.Number({
      description: 'what the order follows: similarity, and when re-ranked what else speaks for it',
    }),
    similarity: Type.Number({ description: 'dot product of the vectors, -1 to 1' }),
    object: Type.Object({ box: BoxShape, label, image: Type.Integer() }),
    item: ItemView,
    alike: Type.Optional(
      Type.Object(
        {
          count: Type.Integer({ minimum: 1 }),
          itemIds: list(Type.String(), { description: 'the first of them, best first' }),
        },
        {
          $id: 'Alike',
          examples: [{ count: 2, itemIds: ['sofa-18', 'sofa-19'] }],
          description: 'candidates left out because they are nearly the same product; absent when none is',
        },
      ),
    ),
    explain: Type.Optional(
      Type.Object({
        similarity: Type.Number(),
        plan: words(['graph', 'scan', 'exact']),
        shard: Type.Integer(),
        replica: Type.String(),
        ranking: Type.Optional(list(RankingPartShape, { description: 'absent when not re-ranked' })),
      }),
    ),
  },
  { $id: 'SearchResult' },
)
export type SearchResult = Static<typeof SearchResult>

const TimingShape = Type.Object(
  {
    decode: Type.Number(),
    detect: Type.Number(),
    embed: Type.Number(),
    fanout: Type.Number(),
    rank: Type.Number(),
    total: Type.Number(),
  },
  { $id: 'Timing', description: 'milliseconds' },
)

const ShardExplanation = Type.Object(
  {
    shard: Type.Integer(),
    replica: Type.String(),
    kind: words(['graph', 'scan', 'exact']),
    selectivity: Type.Number({ description: 'share of the items that the filter allows' }),
    effort: Type.Integer({
      description: 'graph candidates asked of a segment of 200,000 rows; 0: no graph was walked',
    }),
    segments: list(
      Type.Object({
        rows: Type.Integer(),
        by: words(['graph', 'codes', 'vectors']),
        scored: Type.Integer({ description: 'rows whose vectors were compared with the query' }),
      }),
    ),
  },
  {
    $id: 'ShardExplanation',
    examples: [
      {
        shard: 0,
        replica: 'g1-0-a',
        kind: 'graph',
        selectivity: 1,
        effort: 40,
        segments: [{ rows: 25_000, by: 'graph', scored: 50 }],
      },
    ],
  },
)

const counted = <T extends TSchema>(value: T) => list(Type.Object({ value, count: Type.Integer() }))

export const Facets = Type.Object(
  {
    of: Type.Integer({
      description: 'candidates counted: the best few hundred that pass the filter, not the whole catalogue',
    }),
    category: counted(Type.String()),
    region: counted(Type.String()),
    available: counted(Type.Boolean()),
    price: nullable(
      Type.Object({
        currency: Type.String(),
        min: Type.Number(),
        max: Type.Number(),
        buckets: list(
          Type.Object({
            from: Type.Number({ description: 'inclusive' }),
            to: Type.Number({ description: 'exclusive, but for the last bucket' }),
            count: Type.Integer(),
          }),
        ),
      }),
      { description: 'of the currency that most candidates have; null when none has a price' },
    ),
    attributes: Type.Unsafe<
      Readonly<Record<string, readonly { readonly value: string | number | boolean; readonly count: number }[]>>
    >(Type.Record(Type.String(), counted(AttributeValueShape))),
  },
  {
    $id: 'Facets',
    description: 'how many candidates have each value, most frequent first; long lists are cut',
    examples: [
      {
        of: 120,
        category: [{ value: 'sofa', count: 96 }],
        region: [{ value: 'de', count: 120 }],
        available: [{ value: true, count: 118 }],
        price: { currency: 'EUR', min: 99, max: 899, buckets: [{ from: 99, to: 899, count: 120 }] },
        attributes: { colour: [{ value: 'green', count: 31 }] },
      },
    ],
  },
)
export type Facets = Static<typeof Facets>

const RankedBy = Type.Object(
  {
    weights: Type.String({ description: 'version of the weights, which belongs to the generation' }),
    digest: Type.String({ description: 'SHA-256 of their file' }),
    bound: Type.Number({ description: 'no result is above another that is more similar by more than this' }),
  },
  {
    $id: 'RankedBy',
    description: 'absent when the order is that of similarity alone',
    examples: [{ weights: 'v1', digest: 'f'.repeat(64), bound: 0.05 }],
  },
)

export const SearchAnswer = Type.Object(
  {
    queryId: Type.String(),
    objects: list(DetectedShape, { description: 'what was seen in the picture, best first' }),
    searched: Type.Object({
      box: nullable(BoxShape, { description: 'null for a query by vector' }),
      object: nullable(Type.Integer(), { description: 'index into objects, when one of them was searched' }),
    }),
    results: list(SearchResult),
    generation: Type.String(),
    model: Type.String(),
    coverage: Type.Object({ answered: Type.Integer(), total: Type.Integer() }, { description: 'shards' }),
    degraded: list(Type.String(), {
      description:
        'why the answer is not whole: shard-timeout, shard-failed, shard-not-ready; or not ranked by all it should be: ' +
        'features-unavailable; or of another generation than that of the session: generation-not-held',
    }),
    rankedBy: Type.Optional(RankedBy),
    facets: Type.Optional(Facets),
    cached: Type.Optional(
      Type.Object(
        {
          picture: Type.Boolean({ description: 'objects and vector of the picture were known' }),
          candidates: Type.Boolean({
            description: 'the shards were not asked: nothing has changed in them since they were',
          }),
        },
        {
          $id: 'Cached',
          description: 'what was not computed anew',
          examples: [{ picture: true, candidates: false }],
        },
      ),
    ),
    freshness: Type.Object({ indexAgeMs: Type.Number(), watermarks: OffsetsShape }),
    timingMs: TimingShape,
    explain: Type.Optional(
      Type.Object({ shards: list(ShardExplanation) }, { description: 'how each shard searched, when asked for' }),
    ),
  },
  {
    $id: 'SearchAnswer',
    examples: [
      {
        queryId: '0198c1d2',
        objects: [{ box: exampleBox, label: '', score: 0.83 }],
        searched: { box: exampleBox, object: 0 },
        results: [
          {
            itemId: 'sofa-17',
            score: 0.91,
            similarity: 0.91,
            object: { box: [0, 0, 1, 1], label: '', image: 0 },
            item: exampleView,
          },
        ],
        generation: 'g1',
        model: 'v1',
        coverage: { answered: 1, total: 1 },
        degraded: [],
        freshness: { indexAgeMs: 0, watermarks: { 3: '1041' } },
        timingMs: { decode: 6.1, detect: 41.7, embed: 22.4, fanout: 1.3, rank: 0.1, total: 72.9 },
      },
    ],
  },
)
export type SearchAnswer = Static<typeof SearchAnswer>

export const DetectAnswer = Type.Object(
  {
    generation: Type.String(),
    model: Type.String(),
    image: Type.Object({
      blob: nullable(BlobReference, { description: 'the stored picture, for follow-up searches' }),
      width: Type.Integer(),
      height: Type.Integer(),
    }),
    objects: list(DetectedShape),
    degraded: Type.Optional(
      list(Type.String(), {
        description: 'generation-not-held: the generation of this session was meant, and another one has answered',
      }),
    ),
    timingMs: Type.Object({ decode: Type.Number(), detect: Type.Number(), total: Type.Number() }),
  },
  {
    $id: 'DetectAnswer',
    examples: [
      {
        generation: 'g1',
        model: 'v1',
        image: { blob: exampleBlob, width: 1600, height: 1067 },
        objects: [{ box: exampleBox, label: '', score: 0.83 }],
        timingMs: { decode: 6.1, detect: 41.7, total: 48.2 },
      },
    ],
  },
)
export type DetectAnswer = Static<typeof DetectAnswer>

export const SimilarQuery = Type.Object(
  {
    k: Type.Optional(k),
    object: Type.Optional(Type.Integer({ minimum: 0, description: "index into the item's stored objects" })),
    generation: queryFields.generation,
    session: queryFields.session,
    rerank: queryFields.rerank,
    collapse: queryFields.collapse,
    facets: queryFields.facets,
  },
  closed,
)
export type SimilarQuery = Static<typeof SimilarQuery>
