import { FreshetError } from '../../schemas/errors.ts'
import type { ShardReplica, ShardSearchRequest, ShardSearchResult } from '../../schemas/shard-api.ts'

/** Unit vectors of 16-bit components: a dot product may be a little beyond 1. */
const similarityBound = 1.01

/**
 * Has the right shape; whether it can be an answer to the request at all.
 * @throws FreshetError `replica-unavailable`, with `why: 'implausible'` in the details
 */
export function requirePlausible(
  { hits, watermarks }: ShardSearchResult,
  request: ShardSearchRequest,
  { replica, partitions }: Pick<ShardReplica, 'replica' | 'partitions'>,
): void {
  const wrong = (what: string): FreshetError =>
    new FreshetError('replica-unavailable', `${replica} ${what}`, { details: { why: 'implausible' } })
  if (hits.length > request.k) throw wrong(`gave ${hits.length} results, ${request.k} were asked for`)
  let before = Number.POSITIVE_INFINITY
  for (const { similarity, itemId } of hits) {
    // Not a number is no less than anything.
    if (!(Math.abs(similarity) <= similarityBound)) throw wrong(`gave a similarity of ${similarity}`)
    if (similarity > before) throw wrong('gave results that are not in order')
    if (itemId === request.excludeItem) throw wrong('gave the item that was excluded')
    before = similarity
  }
  for (const partition in watermarks)
    if (!partitions.some(own => String(own) === partition)) throw wrong(`told of partition ${partition}, not its own`)
}
