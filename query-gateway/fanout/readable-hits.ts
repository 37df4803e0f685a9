import type { FanoutAnswer, RankedHit } from '../shard-fanout.ts'

/**
 * Without the shards that told of a hit what cannot be read, as if they had failed: that is found out only where somebody
 * looks at it (see `shard-wire-hits.ts`). Null when all can be read, or nothing would be left.
 */
export function withoutUnreadable(found: FanoutAnswer): FanoutAnswer | null {
  const failed = new Set(found.hits.filter(hit => !isReadable(hit)).map(({ shard }) => shard))
  const { answered, total } = found.coverage
  if (failed.size === 0 || failed.size >= answered) return null
  return {
    ...found,
    hits: found.hits.filter(({ shard }) => !failed.has(shard)),
    coverage: { answered: answered - failed.size, total },
    degraded: [...new Set([...found.degraded, 'shard-failed' as const])],
    explanations: found.explanations.filter(({ shard }) => !failed.has(shard)),
  }
}

/** Looks at a field of each of its lines. */
function isReadable({ hit: { item } }: RankedHit): boolean {
  try {
    void item.title
    void item.regions
    return true
  } catch {
    return false
  }
}
