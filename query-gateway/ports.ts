import type { CatalogEvent } from '../schemas/catalog-event.ts'
import type { DeadLetter } from '../schemas/dead-letter.ts'
import type { EngagementRecord } from '../schemas/engagement.ts'
import type { ErrorCode } from '../schemas/errors.ts'
import type {
  BuildAnswer,
  BuildRequest,
  GenerationDetail,
  GenerationView,
  ModelList,
  ModelRequest,
  ProofRequest,
  ProofResult,
  RegisteredModel,
  ResumeRequest,
  RetireRequest,
  RollbackRequest,
  RouteRequest,
  StepAnswer,
  StepProgress,
  StepRequest,
} from '../schemas/http-generations.ts'
import type { Redriven, SnapshotAnswer, SnapshotRequest } from '../schemas/http-operations.ts'
import type { Fingerprint, Generation, ImageDigest, TopicEpoch } from '../schemas/ids.ts'
import type { ImageModel } from '../schemas/image-analysis.ts'
import type { RecordCodec } from '../schemas/record-codec.ts'
import type { ShardReplica } from '../schemas/shard-api.ts'
import type { EventLog } from '../topologies/event-log.ts'
import type { FeatureStore } from '../topologies/feature-store.ts'
import type { QueueDepth } from '../topologies/work-queue.ts'

/** What the gateway needs of the rest; `ops` passes it in. Functions are asked anew per request, so answers may change. */
export interface GatewayPorts {
  readonly log: Pick<EventLog, 'append' | 'offsets'>
  readonly catalogCodec: Pick<RecordCodec<CatalogEvent>, 'encode'>
  readonly engagementCodec: Pick<RecordCodec<EngagementRecord>, 'encode'>
  /** Engagement of items; rankings go on without it. */
  readonly features: Pick<FeatureStore, 'readSums'>
  /** Partition count of the catalog and engagement topics. */
  readonly partitions: number
  readonly topicEpoch: TopicEpoch
  readonly routing: () => readonly RoutedGeneration[]
  /** Every replica known, of all generations. */
  readonly replicas: () => readonly ShardReplica[]
  /** Undefined where this process does not hold the generation's model: its queries go elsewhere. */
  readonly modelOf: (generation: Generation) => ImageModel | undefined
  /** A guarded download of an `http(s):` URL into the blob store. @throws FreshetError image-* | `blob-store-full` */
  readonly fetchImage: (url: string, signal: AbortSignal) => Promise<ImageDigest>
  readonly blobs: GatewayBlobs
  readonly deadLetters: DeadLetterDesk
  readonly generations: GenerationDesk
  readonly pipeline: () => Promise<PipelineStatus>
  /** Items that became searchable last, newest first, a few dozen at most. */
  readonly recentItems: () => readonly RecentItem[]
  /** Copies the data directory while serving. @throws FreshetError `bad-request` | `storage-full` | `storage-failed` */
  readonly backup: (directory: string) => Promise<{ readonly bytes: number }>
  /** Writes a snapshot of each shard, or of the one named. @throws FreshetError as `backup`; `not-found` for another shard */
  readonly snapshot: (request: SnapshotRequest) => Promise<SnapshotAnswer['shards']>
  /** All roles of this process have started; replicas are asked besides. */
  readonly ready: () => boolean
  /** Wall clock, ms since 1970. */
  readonly clock: () => number
  /** Ids of queries and requests. */
  readonly newId: () => string
}

/** A generation as the control log has it now. */
export interface RoutedGeneration {
  readonly generation: Generation
  readonly model: string
  readonly fingerprint: Fingerprint
  readonly dims: number
  readonly shards: number
  /** Version of its ranking weights; without, those made for its model. */
  readonly weights?: string
  readonly state: string
  /** Share of the queries, 0 to 1. */
  readonly share: number
}

/** A step with who takes it: it is said in the control record. */
export type Decided<Request> = Request & { readonly by: string }

/** While a proof runs. */
export interface ProofWatch {
  /** Aborts it: nothing is recorded then. */
  readonly signal: AbortSignal
  readonly onProgress: (progress: StepProgress) => void
}

/**
 * Models and generations as operators handle them; `topologies/generations/desk` fits. Every step is a control record,
 * decided on the state there is when it is asked for.
 * @throws FreshetError `not-found` (no such generation), `step-refused` with what is missing, `control-conflict` with
 * what another operator did first, `bad-request`, codes of the log
 */
export interface GenerationDesk {
  /** In order of their start, retired ones too. */
  list(): Promise<readonly GenerationView[]>
  show(generation: Generation): Promise<GenerationDetail>
  models(): Promise<ModelList['models']>
  /** @throws FreshetError `model-invalid` when the model store has no such model */
  registerModel(request: Decided<ModelRequest>): Promise<RegisteredModel>
  /** @throws FreshetError also `model-invalid` */
  build(request: Decided<BuildRequest>): Promise<BuildAnswer>
  pause(generation: Generation, request: Decided<StepRequest>): Promise<StepAnswer>
  resume(generation: Generation, request: Decided<ResumeRequest>): Promise<StepAnswer>
  /** A verdict that is no is answered, not thrown. @throws FreshetError also when nothing could be found out */
  verify(generation: Generation, request: Decided<ProofRequest>, watch: ProofWatch): Promise<ProofResult>
  canary(generation: Generation, request: Decided<ProofRequest>, watch: ProofWatch): Promise<ProofResult>
  route(generation: Generation, request: Decided<RouteRequest>): Promise<StepAnswer>
  rollback(generation: Generation, request: Decided<RollbackRequest>): Promise<StepAnswer>
  retire(generation: Generation, request: Decided<RetireRequest>): Promise<StepAnswer>
  /** The document as it was recorded. @throws FreshetError `not-found` */
  evidence(generation: Generation, digest: string): Promise<string>
}

/** Pictures by the digest of their bytes; the workers' blob store fits. */
export interface GatewayBlobs {
  /** @throws FreshetError `image-empty` | `image-too-large` | `blob-store-full` | `storage-full` | what the source threw */
  put(
    source: Uint8Array | AsyncIterable<Uint8Array>,
    limitBytes: number,
  ): Promise<{ readonly digest: ImageDigest; readonly bytes: number }>
  has(digest: ImageDigest): boolean
  /** Whether it is there; then it is safe from eviction until the event that names it is dispatched. */
  renew(digest: ImageDigest): boolean
  /** File of a blob that is there. */
  path(digest: ImageDigest): string
}

/** The dead letters as operators handle them; `topologies/dead-letters.ts` fits. */
export interface DeadLetterDesk {
  /** Open ones, newest first; `next` is null at the end. @throws FreshetError `bad-request` for an `after` it did not give */
  list(page: {
    readonly limit: number
    readonly after?: string
  }): Promise<{ readonly letters: readonly ListedDeadLetter[]; readonly next: string | null }>
  /** @throws FreshetError `dead-letter-not-found` */
  show(id: string): Promise<ListedDeadLetter>
  /** Runs the job again at its original version. @throws FreshetError `dead-letter-not-found` | `bad-request` (holds no job) */
  redrive(id: string): Promise<RedriveOutcome>
  /** @throws FreshetError `dead-letter-not-found` */
  markHandled(id: string, handling: 'dropped'): Promise<void>
}

export type RedriveOutcome = Redriven['outcome']

export interface ListedDeadLetter {
  readonly id: string
  readonly letter: DeadLetter
}

export interface PipelineStatus {
  /** Per second over the last ten seconds, such as `searchable`. */
  readonly rates: Readonly<Record<string, number>>
  readonly queue: QueueDepth
  readonly processes: readonly {
    readonly name: string
    readonly pid: number | null
    readonly state: 'starting' | 'running' | 'restarting' | 'stopped'
    readonly restarts: number
  }[]
  readonly alarms: readonly { readonly code: ErrorCode; readonly message: string; readonly sinceMs: number }[]
  readonly deadLetters: number
}

export interface RecentItem {
  readonly itemId: string
  readonly title: string
  readonly digest: ImageDigest | null
  /** When it became searchable. */
  readonly atMs: number
}
