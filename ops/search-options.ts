import { defaultFanoutOptions } from '../query-gateway/fanout/fanout-options.ts'
import type { GatewayOptions } from '../query-gateway/gateway-options.ts'
import type { Config } from './config.ts'

/** How a gateway asks its shards, and what its stages are held against. */
export function searchOptions({ search }: Pick<Config, 'search'>): Pick<GatewayOptions, 'fanout' | 'stageBudgetMs'> {
  const { shardTimeoutMs, candidatesPerShard, maxCandidates, maxReplicaLagMs, budgetMs } = search
  const { hedge, extra, breaker } = defaultFanoutOptions
  return {
    stageBudgetMs: budgetMs,
    fanout: {
      shardTimeoutMs,
      candidatesPerShard,
      maxCandidates,
      maxReplicaLagMs,
      hedge: { ...hedge, minMs: search.hedgeMinMs, maxMs: Math.max(search.hedgeMinMs, search.hedgeMaxMs) },
      extra: { ...extra, ratio: search.extraPercent / 100 },
      breaker: { ...breaker, failures: search.breakerFailures, openMs: search.breakerOpenMs },
    },
  }
}
