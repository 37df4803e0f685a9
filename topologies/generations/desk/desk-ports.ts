import type { ControlRecord, GenerationStarted } from '../../../schemas/control.ts'
import type { StepProgress } from '../../../schemas/http-generations.ts'
import type { Fingerprint, Generation, TopicEpoch } from '../../../schemas/ids.ts'
import type { RecordCodec } from '../../../schemas/record-codec.ts'
import type { EventLog } from '../../event-log.ts'
import type { CanaryGate } from '../canary/canary-gate.ts'
import type { CertifiableReplica, FailureAllowance } from '../certificate.ts'
import type { ImageCost } from './build-estimate.ts'
import type { KnownModel } from './decisions.ts'
import type { DeskRules } from './generation-lacks.ts'

/** What the desk needs of the rest; `ops` passes it in. Functions are asked anew each time. */
export interface DeskPorts {
  readonly log: EventLog
  readonly codec: RecordCodec<ControlRecord>
  /** Of the catalog. */
  readonly partitions: number
  readonly topicEpoch: () => TopicEpoch
  /** Every replica known, of all generations. */
  readonly replicas: () => readonly CertifiableReplica[]
  /** From the model store here; null: it has no such model. @throws FreshetError `model-invalid` */
  readonly heldModel: (name: string) => Promise<KnownModel | null>
  /** @throws FreshetError `bad-request` for ranking weights or index parameters that this release does not know */
  readonly checkSettings: (started: Pick<GenerationStarted, 'model' | 'weights' | 'index'>) => void
  /** Creates the mutation topic of a generation, or checks that it fits. @throws FreshetError `topic-mismatch`, codes of the log */
  readonly createTopic: (generation: Generation) => Promise<void>
  /** What a picture takes with a model: embeds one to find out. @throws FreshetError `model-invalid` */
  readonly imageCost: (model: string) => Promise<ImageCost>
  /** Share of the pictures, 0 to 1, whose vectors of a model are kept; of a sample, 0 where that is not known. */
  readonly knownShare: (fingerprint: Fingerprint) => number
  /** Where shards and log of this process lie; null: they lie elsewhere. */
  readonly diskFreeBytes: () => Promise<number | null>
  /** Why the rebuild of a generation goes slower than it could; null: it does not, or is not known here. */
  readonly throttledBy: (generation: Generation) => string | null
  readonly canary: CanaryGate
  /** Where evidence is written, and that of other gateways found which share it. */
  readonly evidenceDirectory: string
  /** Wall clock, ms since 1970. */
  readonly clock: () => number
}

export interface DeskOptions extends DeskRules {
  /** Items that may have failed in a generation and not in the one it is compared with. */
  readonly allowance: FailureAllowance
  /** See `CertificateOptions`. */
  readonly maxCuts: number
  readonly lagTimeoutMs: number
}

/** While a proof runs. */
export interface ProofWatch {
  /** Aborts it: nothing is recorded then. */
  readonly signal: AbortSignal
  readonly onProgress: (progress: StepProgress) => void
}

/** A request with who makes it. */
export type Decided<Request> = Request & { readonly by: string }
