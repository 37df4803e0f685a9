import type { SavedPart } from './part.ts'

/** One row file to merge and which of its rows to keep. */
export interface BuildInput {
  readonly rows: SavedPart['rows']
  /** A bit per row, least significant first. */
  readonly keep: Uint8Array
}

/** What the builder process is asked: rows kept of all inputs, sorted by item, as a new part. */
export interface BuildRequest {
  readonly directory: string
  /** Number of the new part: files `rows-<id>` and `graph-<id>`. */
  readonly id: number
  readonly inputs: readonly BuildInput[]
  /** Null: codes only. */
  readonly graph: { readonly connectivity: number; readonly expansionAdd: number } | null
}

export type BuildReply =
  | { readonly type: 'progress'; readonly rows: number; readonly of: number }
  | { readonly type: 'built'; readonly part: SavedPart }
  | { readonly type: 'failed'; readonly code: string; readonly message: string }
