import type { ShardHit } from '../../schemas/shard-api.ts'

interface Merged {
  readonly hit: ShardHit
}

/**
 * The best of several lists, each in order, best first; ties by item id, so that the same query has the same answer.
 * An item that two shards hold, as they may while a generation is re-sharded, comes once: its newer version, or where
 * that is the same its better object.
 */
export function mergeHits<Hit extends Merged>(lists: readonly (readonly Hit[])[], limit: number): readonly Hit[] {
  const heads = lists.map(() => 0)
  const merged: Hit[] = []
  const places = new Map<string, number>()
  while (merged.length < limit) {
    const next = nextOf(lists, heads)
    if (next === null) break
    const { itemId } = next.hit
    const place = places.get(itemId)
    if (place === undefined) {
      places.set(itemId, merged.length)
      merged.push(next)
    } else if (next.hit.item.version > merged[place]!.hit.item.version) {
      merged.splice(place, 1)
      for (const [id, at] of places) if (at > place) places.set(id, at - 1)
      places.set(itemId, merged.length)
      merged.push(next)
    }
  }
  return merged
}

/** Takes the best head; null when all lists are at their ends. */
function nextOf<Hit extends Merged>(lists: readonly (readonly Hit[])[], heads: number[]): Hit | null {
  let best: Hit | null = null
  let bestList = -1
  for (let list = 0; list < lists.length; list++) {
    const head = lists[list]![heads[list]!]
    if (head === undefined || (best !== null && compareHits(best.hit, head.hit) <= 0)) continue
    best = head
    bestList = list
  }
  if (bestList >= 0) heads[bestList]!++
  return best
}

/** Below 0: the first one is better. */
export function compareHits(a: ShardHit, b: ShardHit): number {
  if (a.similarity !== b.similarity) return b.similarity - a.similarity
  return a.itemId < b.itemId ? -1 : a.itemId === b.itemId ? 0 : 1
}
