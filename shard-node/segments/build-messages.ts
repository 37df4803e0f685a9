import type { ErrorCode } from '../../schemas/errors.ts'
import type { SavedSegment } from './segment.ts'

/** One segment to merge and which of its rows to keep. */
export interface BuildInput {
  readonly rows: SavedSegment['rows']
  readonly graph: SavedSegment['graph']
  /** A bit per row, least significant first. */
  readonly keep: Uint8Array
}

/** What the builder process is asked: rows kept of all inputs, sorted by item, as a new segment. */
export interface BuildRequest {
  readonly directory: string
  /** Number of the new segment: files `rows-<id>` and `graph-<id>`. */
  readonly id: number
  /** At most one set of rows of an item is kept in all of them together. */
  readonly inputs: readonly BuildInput[]
  /** Runs at normal priority; else at the lowest. */
  readonly isUrgent?: boolean
  /** Null: codes only. */
  readonly graph: { readonly connectivity: number; readonly expansionAdd: number } | null
}

export type BuildReply =
  /** Rows merged, or, when there is to be a graph, rows in it. */
  | { readonly type: 'progress'; readonly rows: number; readonly of: number }
  | { readonly type: 'built'; readonly segment: SavedSegment }
  | { readonly type: 'failed'; readonly code: ErrorCode; readonly message: string }
