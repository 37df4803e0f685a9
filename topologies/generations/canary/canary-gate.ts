import type { Generation } from '../../../schemas/ids.ts'

/** Decides from evidence whether a generation may get queries. */
export interface CanaryGate {
  /**
   * Asks both generations the same questions, a few at a time, and holds what came out against the bounds. A verdict
   * is never thrown. @throws FreshetError `config-invalid` (bounds or golden set) · `not-ready` when a generation
   * could not be asked at all · the signal's reason
   */
  run(options: CanaryOptions): Promise<CanaryReport>
}

export interface CanaryOptions {
  readonly candidate: Generation
  /** The generation it is compared with: the one that has the queries now. */
  readonly reference: Generation
  readonly signal: AbortSignal
  readonly onProgress: (progress: CanaryProgress) => void
}

export interface CanaryProgress {
  readonly done: number
  readonly total: number
  /** Such as `labelled set`. */
  readonly what: string
}

/** The evidence, as it is kept: JSON, lists in it bounded. */
export interface CanaryReport {
  readonly passed: boolean
  /** Why not, in words, each naming its measure; empty when passed. */
  readonly reasons: readonly string[]
  readonly candidate: Generation
  readonly reference: Generation
  readonly startedAtMs: number
  readonly tookMs: number
  /** Of the draw of the probe items: the same seed on the same catalogue asks the same questions. */
  readonly seed: number
  readonly bounds: { readonly name: string; readonly digest: string }
  readonly measures: readonly CanaryMeasure[]
  /** Replicas that were asked for their own vectors, as many as fit. */
  readonly replicas: readonly ProbedReplica[]
  /** Where the questions came from. */
  readonly questions: readonly QuestionSet[]
  /** Some of the questions that the candidate answered worse, for whoever looks into it. */
  readonly misses: readonly CanaryMiss[]
}

/** One measure of one side, and the bound it is held against; a measure with several bounds comes several times. */
export interface CanaryMeasure {
  /** Such as `labelled.recall@10`. */
  readonly name: string
  /** `ratio`: candidate by reference. */
  readonly of: 'candidate' | 'reference' | 'ratio'
  /** Null: could not be measured. */
  readonly value: number | null
  /** As a person reads it, such as `at least 0.95`; null: only told. */
  readonly bound: string | null
  /** Null: there is no bound, or nothing to hold against it and none is required. */
  readonly met: boolean | null
}

export interface ProbedReplica {
  readonly generation: Generation
  readonly replica: string
  readonly shard: number
  /** Vectors that it was asked for. */
  readonly asked: number
  /** Share of those that found their own item first. Null: none was asked. */
  readonly selfFirst: number | null
  /** Share of the true first ten that the index found. */
  readonly recall: number | null
}

export interface QuestionSet {
  /** Such as `items` or `labelled`. */
  readonly name: string
  /** Asked of both generations. */
  readonly asked: number
  /** Passed over, since the reference does not hold what they ask for. */
  readonly skipped: number
  /** What they are and what they are not. */
  readonly note: string
}

export interface CanaryMiss {
  readonly measure: string
  /** Item id, or picture of the golden set. */
  readonly asked: string
  readonly detail: string
}

/** The report in a line, for lists. */
export function canarySummary({ passed, reasons, measures }: CanaryReport): string {
  if (passed) return `${measures.filter(({ met }) => met === true).length} bounds met`
  const [first = 'no reason', ...others] = reasons
  return others.length === 0 ? first : `${first}; and ${others.length} more`
}
