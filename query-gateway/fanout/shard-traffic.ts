import type { ShardReplica } from '../../schemas/shard-api.ts'
import { CircuitBreaker } from './circuit-breaker.ts'
import { ExtraRequests } from './extra-requests.ts'
import type { FanoutOptions } from './fanout-options.ts'
import { LatencyQuantile } from './latency-quantile.ts'

/** What this gateway knows of one replica by having asked it. */
export interface ReplicaTraffic {
  readonly breaker: CircuitBreaker
  /** Requests in hand. */
  inFlight: number
}

/** Of shards that are no longer asked the latencies are forgotten, the oldest first. */
const maxShards = 4_096

/** What was learnt from the requests so far: of each replica, of each shard, of all together. */
export class ShardTraffic {
  readonly extra: ExtraRequests
  readonly #options: FanoutOptions
  readonly #random: () => number
  /** A replica that came back is another object: what was known of its former life goes with that. */
  readonly #replicas = new WeakMap<ShardReplica, ReplicaTraffic>()
  readonly #latencies = new Map<string, LatencyQuantile>()

  constructor(options: FanoutOptions, random: () => number) {
    this.#options = options
    this.#random = random
    this.extra = new ExtraRequests(options.extra)
  }

  of(replica: ShardReplica): ReplicaTraffic {
    const known = this.#replicas.get(replica)
    if (known !== undefined) return known
    const traffic = { breaker: new CircuitBreaker(this.#options.breaker, this.#random), inFlight: 0 }
    this.#replicas.set(replica, traffic)
    return traffic
  }

  /** Of a shard's first replica asked: answers, and what was not waited for any longer. */
  latency({ generation, shard }: Pick<ShardReplica, 'generation' | 'shard'>, nowMs: number): LatencyQuantile {
    const key = `${generation} ${shard}`
    const known = this.#latencies.get(key)
    if (known !== undefined) return known
    const made = new LatencyQuantile(this.#options.hedge.quantile, nowMs)
    this.#latencies.set(key, made)
    const [oldest] = this.#latencies.keys()
    if (this.#latencies.size > maxShards) this.#latencies.delete(oldest!)
    return made
  }

  /** After how long a shard that has not answered is hedged. */
  hedgeAfterMs(latency: LatencyQuantile, nowMs: number, isCrowded: boolean): number {
    const { minMs, maxMs, initialMs, crowdedFactor } = this.#options.hedge
    const usualMs = Math.max(minMs, latency.value(nowMs) ?? initialMs)
    return Math.min(maxMs, isCrowded ? crowdedFactor * usualMs : usualMs)
  }
}
