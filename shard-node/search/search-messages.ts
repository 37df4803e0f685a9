import type { ErrorCode } from '../../schemas/errors.ts'
import type { PartView } from '../segments/part.ts'
import type { IndexAnswer } from '../vector-index.ts'

/** Passed to a search thread when it starts. */
export interface SearchThreadData {
  readonly dims: number
  /** Which scratch area of every part is this thread's. */
  readonly thread: number
  /** Tie keys by item number, over a growable SharedArrayBuffer. */
  readonly ties: Uint32Array
}

/** What a query sees: the moment it was sent. */
export interface Snapshot {
  /** See `visibility`. */
  readonly sequence: number
  /** Rows written so far of the part that is being written: the last of the layout. */
  readonly logRows: number
}

export interface WireQuery {
  readonly vector: Float32Array
  readonly k: number
  readonly exact: boolean
  readonly allowed: { readonly bits: Uint32Array; readonly count: number; readonly items: number } | null
  readonly exclude: number
  /** Graph candidates to ask of a part of 200,000 rows. */
  readonly effort: number
  /** Answer exactly as well, at low priority, and tell the recall. */
  readonly audit: boolean
}

/**
 * A layout holds for every query sent after it. Searches are answered in the order sent, but for exact ones, which
 * are done in slices between the others.
 */
export type SearchRequest =
  | { readonly type: 'layout'; readonly parts: readonly PartView[] }
  | {
      readonly type: 'search'
      readonly id: number
      readonly snapshot: Snapshot
      readonly queries: readonly WireQuery[]
    }
  | { readonly type: 'close' }

export type SearchReply =
  | { readonly type: 'answers'; readonly id: number; readonly answers: readonly IndexAnswer[] }
  | { readonly type: 'error'; readonly id: number; readonly code: ErrorCode; readonly message: string }
  /** Of one audited query: hits of the answer that are in the exact one ÷ hits of the exact one, and the CPU it cost. */
  | { readonly type: 'audited'; readonly recall: number; readonly effort: number; readonly cpuMs: number }
  /** Views of the layout are open; what earlier layouts had and this one has not is let go. */
  | { readonly type: 'laidOut'; readonly ids: readonly number[] }
  /** A graph could not be viewed (its file is another user's): a copy of this process is viewed. */
  | { readonly type: 'copied'; readonly path: string; readonly reason: string }
