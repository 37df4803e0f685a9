import { defaultFanoutOptions } from '../query-gateway/fanout/fanout-options.ts'
import type { GatewayOptions } from '../query-gateway/gateway-options.ts'
import type { Config } from './config.ts'

type SearchOptions = Pick<GatewayOptions, 'fanout' | 'stageBudgetMs' | 'cache' | 'featuresTimeoutMs'> &
  Partial<Pick<GatewayOptions, 'sessionSalt'>>

/** How a gateway asks its shards and ranks what they answer, and what its stages are held against. */
export function searchOptions({ search }: Pick<Config, 'search'>): SearchOptions {
  const { shardTimeoutMs, candidatesPerShard, maxCandidates, maxReplicaLagMs, budgetMs } = search
  const { hedge, extra, breaker } = defaultFanoutOptions
  return {
    stageBudgetMs: budgetMs,
    featuresTimeoutMs: search.featuresMs,
    cache: { pictureBytes: search.pictureCacheBytes, candidateBytes: search.candidateCacheBytes },
    ...(search.sessionSalt === null ? {} : { sessionSalt: search.sessionSalt }),
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
