import type { ErrorCode } from '../schemas/errors.ts'
import type { SavedGraph, SavedRows } from './checkpoint-manifest.ts'
import type { ItemHits, ItemOperation, ItemQuery, VectorStatistics } from './item-index.ts'

/** Passed to the search thread when it starts. */
export interface SearchThreadData {
  readonly dims: number
  readonly expansionAdd: number
  readonly expansionSearch: number
  /** Where checkpoint files lie. */
  readonly directory: string
}

/** Rows of a checkpoint to load, with what the item table says of the items they belong to, by item ordinal. */
export interface RestoreRequest {
  readonly rows: SavedRows
  readonly graph: SavedGraph | null
  /** Number of objects; 0: the item has no rows. */
  readonly objectCounts: Uint8Array
  readonly shown: Uint8Array
  readonly ties: Uint32Array
}

export interface RestoreAnswer {
  /** Why the graph is built anew from the rows; null when it was loaded, or when there was none. */
  readonly graphRefused: { readonly code: ErrorCode; readonly message: string } | null
}

/**
 * What the owner asks of the search thread, with the answer to each. Requests are done, and answered, strictly in
 * the order sent, so whatever was applied before an answer arrived is in it, and nothing else. Exceptions: a
 * `checkpoint` takes its picture in that order and is answered when its files are durable; nothing is sent between a
 * `restore` and its answer.
 */
export interface SearchCalls {
  readonly restore: { readonly request: RestoreRequest; readonly answer: RestoreAnswer }
  readonly apply: { readonly request: readonly ItemOperation[]; readonly answer: null }
  readonly search: { readonly request: ItemQuery; readonly answer: ItemHits }
  readonly vector: {
    readonly request: { readonly item: number; readonly object: number }
    readonly answer: Float32Array | null
  }
  readonly statistics: { readonly request: null; readonly answer: VectorStatistics }
  readonly checkpoint: {
    readonly request: { readonly sequence: number; readonly published: SavedGraph | null }
    readonly answer: { readonly rows: SavedRows; readonly graph: SavedGraph | null }
  }
  /** The last request: the thread ends by itself once its files are written. */
  readonly close: { readonly request: null; readonly answer: null }
}

export type SearchCallName = keyof SearchCalls

export type SearchRequest = {
  [Name in SearchCallName]: {
    readonly id: number
    readonly name: Name
    readonly request: SearchCalls[Name]['request']
  }
}[SearchCallName]

export type SearchReply =
  | { readonly id: number; readonly answer: SearchCalls[SearchCallName]['answer'] }
  | { readonly id: number; readonly error: { readonly code: ErrorCode; readonly message: string } }
