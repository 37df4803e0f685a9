import { type Static, Type } from '@sinclair/typebox'
import { closed, ErrorDetailShape, list, nullable, OffsetShape, words } from './http-shape.ts'

/** Requests and answers of what operators do with models and generations; the one source of OpenAPI and the client's types. */

export const generationStates = ['building', 'verifying', 'canary', 'serving', 'active', 'standby', 'retired'] as const
export const generationSteps = ['pause', 'resume', 'verify', 'canary', 'route', 'rollback', 'retire'] as const
export type GenerationStep = (typeof generationSteps)[number]

const exampleFingerprint = 'ab'.repeat(32)
const exampleEvidence = '5e'.repeat(32)
const atMs = Type.Number({ description: 'ms since 1970, by the clock of who decided' })
const digest = Type.String({ description: 'SHA-256 of the evidence, 64 hex digits; its name in the evidence route' })

const Evidence = Type.Object(
  {
    atMs,
    by: Type.String(),
    against: nullable(Type.String(), { description: 'the generation it was compared with' }),
    digest,
    summary: Type.String(),
  },
  {
    $id: 'Evidence',
    examples: [
      {
        atMs: 1_760_000_000_000,
        by: 'operator-1',
        against: 'g1',
        digest: exampleEvidence,
        summary: '820 items are the same in g2 and g1',
      },
    ],
  },
)

const StepView = Type.Object(
  {
    step: words(generationSteps),
    allowed: Type.Boolean(),
    missing: list(Type.String(), { description: 'what has to be there first, in words; empty when it is allowed' }),
    mayForce: Type.Boolean({
      description:
        'it may be taken without what is missing: `route` with `override`, `rollback` and `retire` with `force`',
    }),
  },
  { $id: 'StepView' },
)

const RebuildView = Type.Object(
  {
    phase: words(['running', 'paused', 'caught-up'], {
      description: 'caught-up: it has all that was in the catalog when it began',
    }),
    imagesPerSecond: Type.Number({
      description: 'at most so many pictures of the backfill, or objects that are copied, a second; 0: no bound',
    }),
    done: Type.Integer({
      description:
        'offsets of the catalog that every replica has passed, of those that were there when it began; events that ' +
        'log compaction took count as passed',
    }),
    total: Type.Integer(),
    perSecond: nullable(Type.Number(), { description: 'offsets a second lately; null before there are two looks' }),
    etaMs: nullable(Type.Number(), { description: 'at that rate; null while nothing moves' }),
    throttledBy: nullable(Type.String(), { description: 'why it goes slower than it could; null: it does not' }),
  },
  { $id: 'Rebuild' },
)

const generationFields = {
  id: Type.String(),
  model: Type.String(),
  fingerprint: Type.String(),
  dims: Type.Integer(),
  shards: Type.Integer(),
  state: words(generationStates),
  share: Type.Number({ description: 'share of the queries, 0 to 1' }),
  from: nullable(Type.String(), { description: 'the generation whose objects it copies; null: it embeds' }),
  weights: Type.String({ description: 'version of its ranking weights; empty: those made for its model' }),
  index: Type.String({ description: 'parameters of its index as JSON; empty: those of the configuration' }),
  startedAtMs: atMs,
  startedBy: Type.String(),
  startedReason: Type.String(),
  rebuild: RebuildView,
  items: Type.Object(
    { searchable: Type.Integer(), pending: Type.Integer(), failed: Type.Integer() },
    { description: 'on the freshest replica of each shard' },
  ),
  indexAgeMs: nullable(Type.Number(), {
    description: 'age of the oldest event that is not searchable in it; null while no replica answers',
  }),
  replicas: Type.Object({ ready: Type.Integer(), total: Type.Integer() }),
  certificate: nullable(Evidence, { description: 'the last one that held; null before' }),
  canary: nullable(Evidence, { description: 'the last one that passed; null before' }),
  routedAtMs: nullable(Type.Number(), { description: 'when it was given the share it has; null: it never had one' }),
  retirableAtMs: nullable(Type.Number(), {
    description: 'when its warm time is over; null while it has a share, and when it never had one',
  }),
  steps: list(StepView, { description: 'what may be done with it now, and what the rest lacks' }),
}

const exampleView = {
  id: 'g2',
  model: 'v2',
  fingerprint: exampleFingerprint,
  dims: 384,
  shards: 1,
  state: 'building',
  share: 0,
  from: null,
  weights: '',
  index: '',
  startedAtMs: 1_760_000_000_000,
  startedBy: 'operator-1',
  startedReason: 'v2 finds lamps better',
  rebuild: {
    phase: 'running',
    imagesPerSecond: 0,
    done: 410,
    total: 823,
    perSecond: 11.5,
    etaMs: 35_913,
    throttledBy: null,
  },
  items: { searchable: 407, pending: 413, failed: 0 },
  indexAgeMs: 41_000,
  replicas: { ready: 0, total: 1 },
  certificate: null,
  canary: null,
  routedAtMs: null,
  retirableAtMs: null,
  steps: [
    { step: 'pause', allowed: true, missing: [], mayForce: false },
    {
      step: 'verify',
      allowed: false,
      missing: ['413 of 823 offsets of the catalog to be passed by every replica'],
      mayForce: false,
    },
  ],
}

/** A generation with what may be done with it. */
export const GenerationView = Type.Object(generationFields, { $id: 'GenerationView', examples: [exampleView] })
export type GenerationView = Static<typeof GenerationView>

export const HistoryEntry = Type.Object(
  {
    offset: OffsetShape,
    type: Type.String({ description: 'of the control record, such as RoutingChanged' }),
    by: Type.String(),
    atMs,
    reason: Type.String(),
    summary: Type.String({ description: 'what it did, in words' }),
    rejected: nullable(Type.String(), { description: 'why it did not count; null: it did' }),
  },
  { $id: 'HistoryEntry' },
)
export type HistoryEntry = Static<typeof HistoryEntry>

const exampleHistory = [
  {
    offset: '3',
    type: 'GenerationStarted',
    by: 'operator-1',
    atMs: 1_760_000_000_000,
    reason: 'v2 finds lamps better',
    summary: 'g2 was started with model v2, 1 shard',
    rejected: null,
  },
]

/** A generation with the control records that concern it, newest first. */
export const GenerationDetail = Type.Object(
  { ...generationFields, history: list(HistoryEntry, { description: 'newest first, at most 200' }) },
  { $id: 'GenerationDetail', examples: [{ ...exampleView, history: exampleHistory }] },
)
export type GenerationDetail = Static<typeof GenerationDetail>

export const GenerationList = Type.Object(
  { generations: list(GenerationView) },
  { $id: 'GenerationList', description: 'in order of their start', examples: [{ generations: [exampleView] }] },
)
export type GenerationList = Static<typeof GenerationList>

export const ModelList = Type.Object(
  {
    models: list(
      Type.Object(
        {
          model: Type.String(),
          fingerprint: Type.String(),
          dims: Type.Integer(),
          registeredAtMs: atMs,
          registeredBy: Type.String(),
          generations: list(Type.String(), { description: 'those that are not retired' }),
        },
        { $id: 'Model' },
      ),
    ),
  },
  {
    $id: 'ModelList',
    examples: [
      {
        models: [
          {
            model: 'v1',
            fingerprint: exampleFingerprint,
            dims: 256,
            registeredAtMs: 1_760_000_000_000,
            registeredBy: 'serve',
            generations: ['g1'],
          },
        ],
      },
    ],
  },
)
export type ModelList = Static<typeof ModelList>

/** Who and why, of every step. */
const decision = {
  reason: Type.String({ minLength: 1, maxLength: 2000, description: 'why; kept with the step for ever' }),
  by: Type.Optional(
    Type.String({ minLength: 1, maxLength: 200, description: 'who; where keys are in force their name is told too' }),
  ),
}
const exampleReason = 'v2 finds lamps better'
const generationName = Type.String({ pattern: '^[a-z0-9-]{1,40}$', examples: ['g2'] })

export const ModelRequest = Type.Object(
  { ...decision, model: Type.String({ minLength: 1, maxLength: 200 }) },
  { ...closed, $id: 'ModelRequest', examples: [{ model: 'v2', reason: exampleReason }] },
)
export type ModelRequest = Static<typeof ModelRequest>

export const RegisteredModel = Type.Object(
  {
    model: Type.String(),
    fingerprint: Type.String(),
    dims: Type.Integer(),
    isNew: Type.Boolean({ description: 'false: it was registered before' }),
  },
  {
    $id: 'RegisteredModel',
    examples: [{ model: 'v2', fingerprint: exampleFingerprint, dims: 384, isNew: true }],
  },
)
export type RegisteredModel = Static<typeof RegisteredModel>

export const BuildRequest = Type.Object(
  {
    ...decision,
    model: Type.Optional(
      Type.String({ minLength: 1, maxLength: 200, description: 'may be left out with from: then that of the other' }),
    ),
    generation: Type.Optional(
      Type.String({ pattern: '^[a-z0-9-]{1,40}$', description: 'its name, never used before; the next free g<n>' }),
    ),
    shards: Type.Optional(Type.Integer({ minimum: 1, maximum: 4096, description: 'as many as the active one has' })),
    from: Type.Optional(
      Type.String({
        pattern: '^[a-z0-9-]{1,40}$',
        description: 'a generation of the same model, whose objects are copied instead of embedding again',
      }),
    ),
    weights: Type.Optional(Type.String({ maxLength: 200, description: 'version of the ranking weights' })),
    index: Type.Optional(Type.String({ maxLength: 10_000, description: 'parameters of the index as JSON' })),
    imagesPerSecond: Type.Optional(
      Type.Number({
        minimum: 0,
        description: 'at most so many pictures of the backfill, or objects that are copied, a second; 0: no bound',
      }),
    ),
    dryRun: Type.Optional(Type.Boolean({ description: 'answer the estimate, build nothing', default: false })),
  },
  { ...closed, $id: 'BuildRequest', examples: [{ model: 'v2', reason: exampleReason }] },
)
export type BuildRequest = Static<typeof BuildRequest>

export const BuildEstimate = Type.Object(
  {
    items: Type.Integer({ description: 'live items of the active generation' }),
    toEmbed: Type.Integer({ description: 'pictures to be embedded: the rest is known or copied' }),
    msPerImage: nullable(Type.Number(), { description: 'of one worker; null: nothing is to be embedded' }),
    measured: words(['trial', 'none'], {
      description: 'trial: one picture was embedded to find out; none: nothing is to be embedded',
    }),
    workers: Type.Integer({ description: 'pictures that are embedded at once; a note says where that is assumed' }),
    durationMs: Type.Number({
      description:
        'toEmbed × msPerImage ÷ workers, more with a bound on the rate; a copy takes what its bound makes it take',
    }),
    diskBytes: Type.Number(),
    diskFreeBytes: nullable(Type.Number(), { description: 'null where the shards are on other machines' }),
    memoryBytes: Type.Number(),
    notes: list(Type.String(), { description: 'what else it costs, in words' }),
  },
  { $id: 'BuildEstimate' },
)
export type BuildEstimate = Static<typeof BuildEstimate>

export const BuildAnswer = Type.Object(
  {
    id: Type.String({ description: 'the name it has, or would get' }),
    estimate: BuildEstimate,
    generation: nullable(GenerationView, { description: 'null after a dry run' }),
  },
  {
    $id: 'BuildAnswer',
    examples: [
      {
        id: 'g2',
        estimate: {
          items: 820,
          toEmbed: 820,
          msPerImage: 84,
          measured: 'trial',
          workers: 1,
          durationMs: 68_880,
          diskBytes: 2_600_000,
          diskFreeBytes: 52_000_000_000,
          memoryBytes: 2_100_000,
          notes: ['Until one of them is retired each new picture is embedded for g1 and for g2.'],
        },
        generation: exampleView,
      },
    ],
  },
)
export type BuildAnswer = Static<typeof BuildAnswer>

export const StepRequest = Type.Object(decision, {
  ...closed,
  $id: 'StepRequest',
  examples: [{ reason: exampleReason }],
})
export type StepRequest = Static<typeof StepRequest>

export const ResumeRequest = Type.Object(
  {
    ...decision,
    imagesPerSecond: Type.Optional(
      Type.Number({ minimum: 0, description: 'from now on at most so many pictures a second; also of one that runs' }),
    ),
  },
  { ...closed, $id: 'ResumeRequest', examples: [{ reason: exampleReason }] },
)
export type ResumeRequest = Static<typeof ResumeRequest>

export const ProofRequest = Type.Object(
  {
    ...decision,
    against: Type.Optional(
      Type.String({
        pattern: '^[a-z0-9-]{1,40}$',
        description:
          'the generation to compare with: the active one; for the active one, the standby that was before it',
      }),
    ),
  },
  { ...closed, $id: 'ProofRequest', examples: [{ reason: exampleReason }] },
)
export type ProofRequest = Static<typeof ProofRequest>

export const RouteRequest = Type.Object(
  {
    ...decision,
    share: Type.Optional(
      Type.Number({ minimum: 0, maximum: 1, description: 'of the queries; the rest goes to the active generation' }),
    ),
    shares: Type.Optional(
      Type.Unsafe<Readonly<Record<string, number>>>(
        Type.Record(Type.String(), Type.Number({ minimum: 0, maximum: 1 }), {
          description: 'all shares, in sum 1; instead of share',
        }),
      ),
    ),
    override: Type.Optional(
      Type.String({
        minLength: 1,
        maxLength: 2000,
        description: 'why a certificate or a canary may be missing; kept for ever',
      }),
    ),
  },
  { ...closed, $id: 'RouteRequest', examples: [{ share: 0.05, reason: exampleReason }] },
)
export type RouteRequest = Static<typeof RouteRequest>

export const RollbackRequest = Type.Object(
  {
    ...decision,
    to: Type.Optional(
      Type.String({
        pattern: '^[a-z0-9-]{1,40}$',
        description: 'who gets all queries: the one that was active before',
      }),
    ),
    force: Type.Optional(
      Type.Boolean({ description: 'also to one that is behind; recorded as an override', default: false }),
    ),
  },
  { ...closed, $id: 'RollbackRequest', examples: [{ reason: 'too few results for lamps' }] },
)
export type RollbackRequest = Static<typeof RollbackRequest>

export const RetireRequest = Type.Object(
  {
    ...decision,
    force: Type.Optional(
      Type.Boolean({ description: 'also before its warm time is over; recorded as an override', default: false }),
    ),
  },
  { ...closed, $id: 'RetireRequest', examples: [{ reason: 'g2 has had all queries for a week' }] },
)
export type RetireRequest = Static<typeof RetireRequest>

/** What a step did. */
export const StepAnswer = Type.Object(
  {
    generation: GenerationView,
    shares: Type.Unsafe<Readonly<Record<string, number>>>(
      Type.Record(Type.String(), Type.Number(), { description: 'of the generations that have one, in force now' }),
    ),
    offset: OffsetShape,
    tookMs: Type.Number({ description: 'from the request until the record counted' }),
  },
  {
    $id: 'StepAnswer',
    description: 'offset: that of its control record',
    examples: [{ generation: exampleView, shares: { g1: 0.95, g2: 0.05 }, offset: '7', tookMs: 4.2 }],
  },
)
export type StepAnswer = Static<typeof StepAnswer>

export const StepProgress = Type.Object(
  { done: Type.Integer(), total: Type.Integer(), what: Type.String({ description: 'what is counted, or being done' }) },
  { $id: 'StepProgress', examples: [{ done: 3, total: 8, what: 'partitions of g2 like g1' }] },
)
export type StepProgress = Static<typeof StepProgress>

const exampleResult = {
  passed: true,
  reasons: [],
  summary: '820 items are the same in g2 and g1',
  against: 'g1',
  digest: exampleEvidence,
  offset: '5',
  measures: [{ name: 'items.recall@10', of: 'candidate', value: 0.99, bound: 'at least 0.95', met: true }],
  generation: exampleView,
}

export const ProofResult = Type.Object(
  {
    passed: Type.Boolean({ description: 'of verify: the certificate holds' }),
    reasons: list(Type.String(), { description: 'why not, in words' }),
    summary: Type.String(),
    against: Type.String(),
    digest,
    offset: nullable(OffsetShape, { description: 'of the control record; null: nothing was recorded' }),
    measures: list(
      Type.Object({
        name: Type.String(),
        of: words(['candidate', 'reference', 'ratio']),
        value: nullable(Type.Number()),
        bound: nullable(Type.String()),
        met: nullable(Type.Boolean(), { description: 'null: no bound' }),
      }),
      { description: 'of a canary' },
    ),
    generation: GenerationView,
  },
  { $id: 'ProofResult', examples: [exampleResult] },
)
export type ProofResult = Static<typeof ProofResult>

/** A line of the answer to verify and canary: progress, and at last what came out. */
export const ProofLine = Type.Union(
  [
    Type.Object({ progress: StepProgress }, closed),
    Type.Object({ result: ProofResult }, closed),
    Type.Object({ error: ErrorDetailShape }, closed),
  ],
  {
    $id: 'ProofLine',
    examples: [{ progress: { done: 3, total: 8, what: 'partitions of g2 like g1' } }, { result: exampleResult }],
  },
)
export type ProofLine = Static<typeof ProofLine>

export const GenerationParams = Type.Object({ generation: generationName })
export const EvidenceParams = Type.Object({
  generation: generationName,
  digest: Type.String({ pattern: '^[0-9a-f]{64}$', examples: [exampleEvidence] }),
})

/** The evidence as it was recorded, byte for byte: its SHA-256 is the digest. */
export const EvidenceDocument = Type.Unsafe<Readonly<Record<string, unknown>>>(
  Type.Record(Type.String(), Type.Unknown(), {
    $id: 'EvidenceDocument',
    examples: [{ holds: true, reasons: [] }],
  }),
)
