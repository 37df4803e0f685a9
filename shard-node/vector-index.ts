/** Items that may come out of a search: a bitmap by item number, and how many bits are set. Bits change as items do. */
export interface AllowedBits {
  /** Lies in a growable SharedArrayBuffer and is as long as it; an item beyond the end is not allowed. */
  readonly bits: Uint32Array
  readonly count: number
}

export interface IndexQuery {
  /** Unit vector, f32, of the index's dimension. */
  readonly vector: Float32Array
  readonly k: number
  /** Compare with every vector. */
  readonly exact: boolean
  /** Null: every item. */
  readonly allowed: AllowedBits | null
  /** An item never to return; -1: none. */
  readonly exclude: number
}

/** An item with its best object. */
export interface IndexHit {
  readonly item: number
  readonly object: number
  /** Dot product of the query with the stored f16 vector. */
  readonly score: number
}

/** How one segment of the index was searched, for `explain`. */
export interface SegmentPlan {
  readonly rows: number
  /** `graph`: walked; `codes`: every allowed row's code compared; `vectors`: every allowed row's vector compared. */
  readonly by: 'graph' | 'codes' | 'vectors'
  /** Rows whose vectors were compared with the query. */
  readonly scored: number
}

export interface IndexPlan {
  readonly kind: 'graph' | 'scan' | 'exact'
  /** Share of the items that the filter allows, 0 to 1; 1 without a filter. */
  readonly selectivity: number
  /** Graph candidates asked of a segment of 200,000 rows; 0 when no graph was walked. */
  readonly effort: number
  readonly segments: readonly SegmentPlan[]
}

export interface IndexAnswer {
  /** Best first: higher score, then lower tie key of the item, then lower item number. At most k; k if k exist. */
  readonly hits: readonly IndexHit[]
  /** No further item could come out with a larger k. */
  readonly complete: boolean
  readonly plan: IndexPlan
}

export interface IndexStatistics {
  /** Rows that a search may return. */
  readonly rows: number
  /** Rows of replaced or removed sets that compaction has not dropped yet. */
  readonly tombstones: number
  /** Segments with a graph. */
  readonly graphs: number
  /** All segments. */
  readonly segments: number
  /** Rows in segments without a graph, scanned by their codes. */
  readonly scannedRows: number
  /** Bytes of rows in memory, of the table of their sets and of graphs mapped, which count once for all threads. */
  readonly memoryBytes: number
  readonly diskBytes: number
  /** Lengths of the rows held, tombstones included; of rows read from a file, a sample. */
  readonly normMin: number
  readonly normMax: number
  readonly normMean: number
}

/**
 * Vectors of items, searchable by the similarity of an item's best object. An item's vectors are one set, put and
 * replaced as a whole: each search sees the sets as they were when it began, whatever changes while it runs. Item
 * numbers are small and dense; one that was removed may be given to another item later.
 */
export interface VectorIndex {
  /**
   * Replaces the item's set. `vectors` holds the f16 vectors (little-endian) of its objects one after another, each of
   * unit length. A set that is not visible is kept and not found. Returns the ordinal of the set's first row; ordinals
   * grow by one per row and are never used again.
   */
  put(item: number, set: { readonly vectors: Uint8Array; readonly visible: boolean }): number
  /**
   * Shows or hides the item's set; nothing happens to an item without one. A search under way may miss a set that is
   * hidden and shown again before it ends.
   */
  setVisible(item: number, visible: boolean): void
  /** Drops the item's set, if there is one. */
  remove(item: number): void
  /** Answers as of now. Rejects with the signal's reason when it fires first, with FreshetError `not-ready` once closed. */
  search(query: IndexQuery, signal?: AbortSignal): Promise<IndexAnswer>
  /** As many answers, in order, as of one moment; faster than one by one. */
  searchBatch(queries: readonly IndexQuery[], signal?: AbortSignal): Promise<readonly IndexAnswer[]>
  /** Null for an item without a visible set, or without that object. */
  vectorOf(item: number, object: number): Float32Array | null
  statistics(): IndexStatistics
  close(): Promise<void>
}
