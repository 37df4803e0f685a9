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
}

/** Probe queries on a generation met their bounds. */
export interface CanaryPassed extends ControlDecision {
  readonly type: 'CanaryPassed'
  readonly generation: Generation
  /** The measures and their bounds, as JSON. */
  readonly evidence: string
}

/** A generation holds the same live items, at the same versions, as the one it is to replace. */
export interface CutoverCertified extends ControlDecision {
  readonly type: 'CutoverCertified'
  readonly generation: Generation
  /** The generation it was compared with. */
  readonly against: Generation
  /** Cuts, digests and allowances, as JSON. */
  readonly evidence: string
}

/** All shares in one record; 0 to 1, in sum 1. */
export interface RoutingChanged extends ControlDecision {
  readonly type: 'RoutingChanged'
  readonly shares: Readonly<Record<string, number>>
}

export interface GenerationRetired extends ControlDecision {
  readonly type: 'GenerationRetired'
  readonly generation: Generation
}

/** Complete from the start: a union cannot gain a record type under FULL_TRANSITIVE compatibility. */
export type ControlRecord =
  | ModelRegistered
  | GenerationStarted
  | CanaryPassed
  | CutoverCertified
  | RoutingChanged
  | GenerationRetired
