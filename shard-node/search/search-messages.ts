import type { ErrorCode } from '../../schemas/errors.ts'
import type { SegmentView } from '../segments/segment.ts'
import type { RingMemory } from './query-ring.ts'

/** Passed to a search thread when it starts. */
export interface SearchThreadData {
  readonly dims: number
  /** Which scratch area of every segment is this thread's. */
  readonly thread: number
  /** Tie keys by item number, over a growable SharedArrayBuffer. */
  readonly ties: Uint32Array
  readonly ring: RingMemory
  /** Memory of the `Bell`. */
  readonly bell: SharedArrayBuffer
}

/** What a query sees: the moment it was sent. */
export interface Snapshot {
  /** See `visibility`. */
  readonly sequence: number
  /** Rows written so far of the segment that is being written: the last of the layout. */
  readonly logRows: number
}

export interface WireQuery {
  readonly vector: Float32Array
  readonly k: number
  readonly exact: boolean
  /** `items`: how many items there are, of which the filter allows `count`. */
  readonly allowed: { readonly bits: Uint32Array; readonly count: number; readonly items: number } | null
  readonly exclude: number
  /** Graph candidates to ask of a segment of 200,000 rows. */
  readonly effort: number
  /** Answer exactly as well, at low priority, and tell the recall. */
  readonly audit: boolean
}

/** Hits of an answer that are in the exact one ÷ hits of the exact one, and the CPU that finding out cost. */
export interface Audit {
  readonly recall: number
  readonly effort: number
  readonly cpuMs: number
}

/**
 * What is sent as a message; each has its turn among the queries in the slots of the ring. A layout holds for every
 * query sent after it. Searches are answered in the order sent, but for exact ones, which are done in slices between
 * the others. Ids are the owner's and never used again.
 */
export type SearchRequest =
  | { readonly type: 'layout'; readonly id: number; readonly segments: readonly SegmentView[] }
  | {
      readonly type: 'search'
      readonly id: number
      readonly snapshot: Snapshot
      readonly queries: readonly WireQuery[]
    }
  /** Searches sent before are answered, but for exact ones; then the thread ends. */
  | { readonly type: 'close'; readonly id: number }

export type SearchReply =
  /** `answers` as `numbersOf` writes them. */
  | { readonly type: 'answers'; readonly id: number; readonly answers: Float64Array }
  /** Views of the layout are open; what earlier layouts had and this one has not is let go. */
  | { readonly type: 'laidOut'; readonly id: number }
  /** The request was not done; of a search that was answered before: one of its audits was not. */
  | { readonly type: 'failed'; readonly id: number; readonly code: ErrorCode; readonly message: string }
  /** Of one audited query of a search that was answered before. */
  | ({ readonly type: 'audited'; readonly id: number } & Audit)
