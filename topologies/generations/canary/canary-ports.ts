import type { EngagementRecord } from '../../../schemas/engagement.ts'
import type { SearchAnswer, SearchQuery, SearchRequest } from '../../../schemas/http-search.ts'
import type { Fingerprint, Generation, ItemId } from '../../../schemas/ids.ts'
import type { ShardReplica } from '../../../schemas/shard-api.ts'
import type { CanaryBounds } from './canary-bounds.ts'
import type { LabelledSet } from './labelled-set.ts'

/** A search as the API takes it; `upload` is the file of its multipart form. */
export type CanaryQuestion = SearchRequest | (SearchQuery & { readonly upload: Uint8Array })

/** What the gate asks. All reads: nothing that it does is seen by users, counted as engagement or kept in caches. */
export interface CanaryPorts {
  /**
   * The gateway's whole path: decode, detect, crop, embed, fan out, rank; pinned to the generation that the question
   * names, without caches. @throws FreshetError as `POST /v1/search`
   */
  search(question: CanaryQuestion, signal: AbortSignal): Promise<SearchAnswer>
  /** As known now, of all generations. */
  replicas(): readonly ShardReplica[]
  /** Undefined: there is none, or it has been retired. */
  generation(name: Generation): AskedGeneration | undefined
  /** Items of the catalogue drawn by the seed, about so many; deleted ones may be among them. */
  itemIds(count: number, seed: number, signal: AbortSignal): Promise<readonly ItemId[]>
  /** Partitions of the catalogue. */
  readonly partitions: number
  /** Null: there is none for this catalogue. @throws FreshetError `config-invalid` */
  labelledSet(): Promise<LabelledSet | null>
  /** The latest records of what was shown and chosen, at most so many, in order per query. */
  engagements(count: number, signal: AbortSignal): Promise<readonly EngagementRecord[]>
  /** @throws FreshetError `config-invalid` */
  bounds(): CanaryBounds
  /** Of the draws. */
  readonly seed: number
  /** Wall clock, ms since 1970. */
  readonly clock: () => number
  readonly monotonicMs: () => number
}

export interface AskedGeneration {
  readonly fingerprint: Fingerprint
  readonly dims: number
  readonly shards: number
}
