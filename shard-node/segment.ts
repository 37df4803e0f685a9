/** Rows near a query, best first. */
export interface Candidates {
  readonly ordinals: readonly number[]
  /** Similarity as the segment sees it, perhaps from compressed vectors: for order only, the caller re-scores. */
  readonly scores: readonly number[]
}

/**
 * Vectors under ordinals, searchable by similarity. Grows only: a row that died stays in it, and the caller, who
 * knows what is alive, asks for more candidates and drops the dead ones. Used by one thread; every call is synchronous
 * and bounded (one row added, one query searched).
 */
export interface Segment {
  /** Rows added, dead ones included. */
  readonly size: number
  readonly memoryBytes: number
  /** `ordinal` is larger than every one before it and never used again; `vector` is of unit length. */
  add(ordinal: number, vector: Float32Array): void
  /** Up to `count` rows. */
  search(query: Float32Array, count: number): Candidates
  /** Frees what the segment holds; it is empty and not used afterwards. */
  release(): void
}
