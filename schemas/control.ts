import type { Fingerprint, Generation, Offset, TopicEpoch } from './ids.ts'

/** Who decided, when, why, and after which control record. */
interface ControlDecision {
  /** Offset of the last control record this was decided on; -1 for none. A mismatch is rejected by the fold. */
  readonly decidedAfter: Offset
  readonly by: string
  readonly atMs: number
  readonly reason: string
}

export interface ModelRegistered extends ControlDecision {
  readonly type: 'ModelRegistered'
  /** Name of the model set: embedder with detector and preprocessing. */
  readonly model: string
  readonly fingerprint: Fingerprint
  readonly dims: number
  /** The model's manifest as JSON. */
  readonly manifest: string
}

export interface GenerationStarted extends ControlDecision {
  readonly type: 'GenerationStarted'
  readonly generation: Generation
  readonly model: string
  readonly fingerprint: Fingerprint
  readonly dims: number
  readonly shards: number
  /** Catalog end offset per partition when it began: work below is backfill. */
  readonly backfillUntil: readonly Offset[]
  /** Of the catalog it is built from: in a topic that was created again its versions mean nothing. Null in records of older releases. */
  readonly topicEpoch: TopicEpoch | null
  /** The generation whose objects are copied instead of embedding again: for other shards or another index. Null: everything is embedded. */
  readonly from: Generation | null
  /** Version of its ranking weights; empty: those made for its model. */
  readonly weights: string
  /** Parameters of its index as JSON; empty: those of the configuration. */
  readonly index: string
  /** At most so many images of the backfill, or objects that are copied, a second, until a routing says otherwise; 0: no bound. */
  readonly imagesPerSecond: number
}

/** Probe queries on a generation met their bounds. */
export interface CanaryPassed extends ControlDecision {
  readonly type: 'CanaryPassed'
  readonly generation: Generation
  /** The measures and their bounds, as JSON. */
  readonly evidence: string
  /** SHA-256 of the evidence, 64 hex digits; empty in records of older releases. */
  readonly digest: string
}

/** A generation holds the same live items, at the same versions, as the one it is to replace. */
export interface CutoverCertified extends ControlDecision {
  readonly type: 'CutoverCertified'
  readonly generation: Generation
  /** The generation it was compared with. */
  readonly against: Generation
  /** Cuts, digests and allowances, as JSON. */
  readonly evidence: string
  /** SHA-256 of the evidence, 64 hex digits; empty in records of older releases. */
  readonly digest: string
}

/** How a generation is built. */
export interface RebuildSetting {
  /** `caught-up`: it has all that was there when it began, and is never built again. */
  readonly phase: 'running' | 'paused' | 'caught-up'
  /** At most so many images of the backfill a second; 0: no bound. */
  readonly imagesPerSecond: number
}

/** All shares in one record, 0 to 1, in sum 1; and what changes of how generations are built. */
export interface RoutingChanged extends ControlDecision {
  readonly type: 'RoutingChanged'
  readonly shares: Readonly<Record<string, number>>
  /** Why what is missing (certificate, canary) may be missing; empty: nothing is. */
  readonly override: string
  /** Of the generations whose setting changes. */
  readonly rebuilds: Readonly<Record<string, RebuildSetting>>
}

export interface GenerationRetired extends ControlDecision {
  readonly type: 'GenerationRetired'
  readonly generation: Generation
  /** Why it goes before its warm time is over; empty: it is over. */
  readonly override: string
}

/** Complete from the start: a union cannot gain a record type under FULL_TRANSITIVE compatibility. */
export type ControlRecord =
  | ModelRegistered
  | GenerationStarted
  | CanaryPassed
  | CutoverCertified
  | RoutingChanged
  | GenerationRetired
