/** How queries are spread over the replicas of the shards. */
export interface FanoutOptions {
  /** Time a shard has to answer, all replicas asked together, within the query's deadline. */
  readonly shardTimeoutMs: number
  /** Best items asked of each shard where the answer is ranked again; at least the query's own k. */
  readonly candidatesPerShard: number
  /** Most candidates that are merged for ranking; at least the query's own k. */
  readonly maxCandidates: number
  /** A replica that is so much staler than a sibling is not asked while the sibling answers. */
  readonly maxReplicaLagMs: number
  readonly hedge: HedgeOptions
  readonly extra: ExtraRequestOptions
  readonly breaker: BreakerOptions
}

/** When a second replica is asked beside a slow first one. */
export interface HedgeOptions {
  /** Share of a shard's answers, 0 to 1, that come before it is hedged. */
  readonly quantile: number
  /** Bounds of the delay, whatever was measured. */
  readonly minMs: number
  readonly maxMs: number
  /** The delay while too little is measured. */
  readonly initialMs: number
  /**
   * So many times the delay while queries wait for their turn: what a hedge takes is then taken from them, and only a
   * replica that hangs is worth it.
   */
  readonly crowdedFactor: number
}

/** The bound on requests to shards beyond one per shard and query. */
export interface ExtraRequestOptions {
  /** Extra requests by request, over time. */
  readonly ratio: number
  /** Extra requests that may come at once after a quiet time. */
  readonly burst: number
  /** Of the burst, what hedges leave for retries and trials. */
  readonly reserve: number
}

/** When a sick replica is left out, and for how long. */
export interface BreakerOptions {
  /** Failures in a row, with no answer between them. */
  readonly failures: number
  /** Or: of so many latest requests ... */
  readonly window: number
  /** ... so large a share failed or was overtaken by another replica. */
  readonly badRatio: number
  /** First time it is left out; doubled while it does not recover. */
  readonly openMs: number
  readonly maxOpenMs: number
}

export const defaultFanoutOptions: FanoutOptions = {
  shardTimeoutMs: 2_000,
  candidatesPerShard: 100,
  maxCandidates: 400,
  maxReplicaLagMs: 5_000,
  hedge: { quantile: 0.95, minMs: 5, maxMs: 1_000, initialMs: 50, crowdedFactor: 4 },
  extra: { ratio: 0.05, burst: 100, reserve: 50 },
  breaker: { failures: 5, window: 20, badRatio: 0.5, openMs: 1_000, maxOpenMs: 30_000 },
}
