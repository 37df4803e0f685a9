import type { ItemAttributes } from './catalog-event.ts'
import type { ErrorCode } from './errors.ts'
import type { Fingerprint, Generation, ItemId, Offset, Partition, ReplicaId, ShardId } from './ids.ts'
import type { Box } from './mutation.ts'

/** Hard filters; all given parts must hold. */
export interface SearchFilter {
  readonly category?: readonly string[]
  /** The item is sold in at least one of these regions. */
  readonly region?: readonly string[]
  readonly available?: boolean
  readonly price?: { readonly min?: number; readonly max?: number }
  /** Every named attribute has one of the values. */
  readonly attributes?: Readonly<Record<string, readonly (string | number | boolean)[]>>
}

export interface ShardSearchRequest {
  readonly generation: Generation
  readonly fingerprint: Fingerprint
  /** Unit vector, f32, of the generation's dimension. */
  readonly vector: Float32Array
  readonly k: number
  readonly filter?: SearchFilter
  /** Scan every vector instead of the graph. */
  readonly exact?: boolean
  /** An item never to return (the query's own, for similar items). */
  readonly excludeItem?: ItemId
  /** Tell how it was searched. */
  readonly explain?: boolean
}

/** One item with its best object. */
export interface ShardHit {
  readonly itemId: ItemId
  /** Dot product with the query, from the stored f16 vector. */
  readonly similarity: number
  readonly object: { readonly box: Box; readonly label: string; readonly image: number }
  readonly item: ItemSnapshot
}

/** Public state of an item in one generation. */
export interface ItemSnapshot extends ItemAttributes {
  readonly itemId: ItemId
  readonly images: readonly string[]
  readonly imageDigests: readonly string[]
  /** Newer image work failed; these objects are of an older picture. */
  readonly stale: boolean
  /** Offset of the event that wrote the attributes. */
  readonly version: Offset
}

export interface ShardSearchResult {
  readonly hits: readonly ShardHit[]
  /** Per partition: catalog offset up to which everything is applied. */
  readonly watermarks: Readonly<Record<string, Offset>>
  readonly indexAgeMs: number
  /** How it was searched: `graph`, `scan` (of the allowed rows) or `exact`. */
  readonly plan: 'graph' | 'scan' | 'exact'
  /** When the request asks for it. */
  readonly explain?: SearchExplanation
}

/** How one search was carried out. */
export interface SearchExplanation {
  readonly kind: ShardSearchResult['plan']
  /** Share of the items that the filter allows, 0 to 1; 1 without a filter. */
  readonly selectivity: number
  /** Graph candidates asked of a segment of 200,000 rows; 0 when no graph was walked. */
  readonly effort: number
  /** The segments of the index that were looked at. */
  readonly segments: readonly {
    readonly rows: number
    /** `graph`: walked; `codes`: every allowed row's code compared; `vectors`: every allowed row's vector compared. */
    readonly by: 'graph' | 'codes' | 'vectors'
    /** Rows whose vectors were compared with the query. */
    readonly scored: number
  }[]
}

/** The registers of one item on one replica, as receipts and item lookups need them. Offsets are -1 when never written. */
export interface ItemRegisters {
  readonly attributes: Offset
  readonly objects: Offset
  readonly removal: Offset
  readonly failure: Offset
  readonly failureDetail: { readonly code: ErrorCode; readonly message: string; readonly retryable: boolean } | null
  readonly searchable: boolean
  /** Objects of the item when searchable. */
  readonly objectList: readonly {
    readonly box: Box
    readonly label: string
    readonly score: number
    readonly image: number
  }[]
  readonly snapshot: ItemSnapshot | null
  /** Watermark of the item's partition; -1 before the first. */
  readonly watermark: Offset
  /** When this replica applied a register of that version: exact for the last hour, else null. */
  readonly times: {
    readonly attributesMs: number | null
    readonly objectsMs: number | null
    readonly removalMs: number | null
    readonly failureMs: number | null
  }
}

export type ReplicaState = 'starting' | 'catching-up' | 'ready' | 'refusing' | 'stopped'

/** Sums mod 2^128 of element hashes, as hex; order-independent. See DESIGN section 9. */
export interface PartitionDigest {
  /** Over (itemId, attributes version) of the live items. */
  readonly set: string
  /** Over (itemId, image identity of the current objects). */
  readonly objects: string
}

/** An item as it was on a replica when a cut was taken. */
export interface ItemAtCut {
  readonly itemId: ItemId
  /** Version of its attributes; -1: not live. */
  readonly attributes: Offset
  /** Its element in the digest `objects`, 32 hex digits; null: not searchable. */
  readonly objects: string | null
  /** Live, and its newest image work failed: without objects, or with those of an older picture. */
  readonly failed: boolean
  /** Something newer than the cut had been applied to it, so that nothing is known of it at the cut. */
  readonly ahead: boolean
}

/** A replica's word on one partition at a catalog offset, while mutations go on. */
export interface CutTaken {
  /** Name of the cut, as long as it is open. */
  readonly cut: string
  readonly partition: Partition
  /** Inclusive. */
  readonly offset: Offset
  /** Live items, those that are ahead of the offset included. */
  readonly live: number
  /** Sums by bucket over all of them, 32 hex digits each. */
  readonly buckets: { readonly set: readonly string[]; readonly objects: readonly string[] }
  /** Items ahead of the offset, deleted ones included, and those that failed. */
  readonly listed: readonly ItemAtCut[]
}

/** What proves that replicas of two generations hold the same; each cut is ended by whoever took it, else after a while. */
export interface CutReplica {
  /** @throws FreshetError `not-ready` while the watermark is below the offset; `bad-request` when too much is ahead of it */
  beginCut(partition: Partition, offset: Offset): Promise<CutTaken>
  /** Items as they were, in the order asked for. @throws FreshetError `cut-ended` */
  cutItems(cut: string, itemIds: readonly ItemId[]): Promise<readonly ItemAtCut[]>
  /** Live items of a bucket as they were. @throws FreshetError as `cutItems` */
  cutBucket(cut: string, bucket: number): Promise<readonly ItemAtCut[]>
  endCut(cut: string): Promise<void>
}

export interface ReplicaStatus {
  readonly shard: ShardId
  readonly replica: ReplicaId
  readonly generation: Generation
  readonly state: ReplicaState
  /** Why it refuses, else null. */
  readonly reason: string | null
  /** Per partition: offset of the next mutation record to apply. */
  readonly applied: Readonly<Record<string, Offset>>
  readonly watermark: Readonly<Record<string, Offset>>
  readonly indexAgeMs: number
  readonly items: {
    readonly searchable: number
    readonly pending: number
    readonly failed: number
    readonly deleted: number
  }
  readonly rows: number
  readonly tombstones: number
  readonly segments: number
  readonly memoryBytes: number
  readonly digests: Readonly<Record<string, PartitionDigest>>
  readonly vectors: {
    readonly dims: number
    readonly count: number
    readonly normMin: number
    readonly normMax: number
    readonly normMean: number
  }
  readonly searchMs: SearchTimes
  readonly checkpoint: { readonly writtenAtMs: number | null; readonly bytes: number }
  readonly storage: StorageStatus
  /** Null while nothing measures it. */
  readonly recall: RecallStatus | null
}

/** How long searches take, ms. */
export interface SearchTimes {
  /** Since the start. */
  readonly count: number
  readonly sumMs: number
  /** Of the most recent ones. */
  readonly p50: number
  readonly p99: number
  /** Since the start: how many took at most so long; the last bucket has no bound (null). */
  readonly buckets: readonly { readonly upToMs: number | null; readonly count: number }[]
}

/** What a replica's content takes. `segments` of the status counts all segments of the index. */
export interface StorageStatus {
  /** Segments with a graph. */
  readonly graphs: number
  /** Rows in segments without one: every search compares their codes. */
  readonly scannedRows: number
  readonly vectors: {
    readonly memoryBytes: number
    readonly diskBytes: number
    /** `memoryBytes` by row that can be found; 0 without rows. */
    readonly memoryPerVector: number
  }
  readonly items: {
    readonly memoryBytes: number
    readonly diskBytes: number
    /** `memoryBytes` by item known, deleted ones included; 0 without items. */
    readonly memoryPerItem: number
  }
}

/** What exact answers to a sample of the live queries say. */
export interface RecallStatus {
  /** Mean recall of the latest samples; null before the first. */
  readonly measured: number | null
  /** Since the start. */
  readonly samples: number
  /** Graph candidates asked now of a segment of 200,000 rows. */
  readonly effort: number
  /** CPU time that exact answers took since the start. */
  readonly cpuMs: number
}

/** What a replica holds at a moment. */
export interface ReplicaContent {
  /** Counts the changes that a search could see; while it is the same, the same search has the same answer. */
  readonly writes: number
  readonly watermarks: Readonly<Record<string, Offset>>
  readonly indexAgeMs: number
}

/** One replica of one shard as the gateway sees it; in process now, over HTTP in the distributed form. */
export interface ShardReplica {
  readonly shard: ShardId
  readonly replica: ReplicaId
  readonly generation: Generation
  /** Where its process is, which may hold replicas of other shards too; absent for one of this process. */
  readonly address?: string
  /** Partitions the shard owns. */
  readonly partitions: readonly Partition[]
  /** What it last said of itself unasked; absent where it says nothing unasked. */
  readonly reported?: Pick<ReplicaStatus, 'state' | 'indexAgeMs'>
  /** What it holds now, exactly and at once; null when it is not ready. Absent where it would have to be asked. */
  readonly content?: () => ReplicaContent | null
  /** @throws FreshetError `not-ready` | `fingerprint-mismatch` | `vector-*` | `timeout` | `replica-unavailable` */
  search(request: ShardSearchRequest, signal?: AbortSignal): Promise<ShardSearchResult>
  registers(itemId: ItemId): Promise<ItemRegisters>
  /** Stored vector of an item's object (f32, unit); null when the item is not searchable or has no such object. */
  objectVector(itemId: ItemId, object: number): Promise<Float32Array | null>
  status(): Promise<ReplicaStatus>
  /**
   * Resolves once a register of the item changes or its partition's watermark moves, or sooner: for `wait=searchable`.
   * Whoever calls it before `registers` misses no change. Rejects with the signal's reason when it fires first.
   */
  changed(itemId: ItemId, signal: AbortSignal): Promise<void>
}
