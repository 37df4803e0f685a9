import type { Fingerprint, ItemId } from '../../../schemas/ids.ts'
import type { ShardHit, ShardReplica } from '../../../schemas/shard-api.ts'

/** A stored vector whose own item is its nearest neighbour. */
export interface ProbeVector {
  readonly itemId: ItemId
  readonly vector: Float32Array
}

export interface ReplicaProbe {
  /** Vectors that it was asked. */
  readonly asked: number
  /** Share of those that it still holds that found their own item first. Null: there was none. */
  readonly selfFirst: number | null
  /** Mean share of the true first ten, by an exact scan, that the index found. Null: none was asked. */
  readonly recall: number | null
}

const k = 10
/** Similarities that lie so close are equal: items may share a picture, and sums are in another order. */
const tie = 1e-5

/**
 * Searches one replica by vectors that it holds, as a search does and exactly; one after another, so that it is no
 * load. @throws FreshetError as `ShardReplica.search`
 */
export async function probeReplica(
  replica: ShardReplica,
  probes: readonly ProbeVector[],
  { fingerprint, signal }: { readonly fingerprint: Fingerprint; readonly signal: AbortSignal },
): Promise<ReplicaProbe> {
  const selfFirst: number[] = []
  const recalls: number[] = []
  for (const probe of probes) {
    const request = { generation: replica.generation, fingerprint, vector: probe.vector, k }
    const before = await replica.search({ ...request, exact: true }, signal)
    const { hits } = await replica.search(request, signal)
    const after = await replica.search({ ...request, exact: true }, signal)
    recalls.push(recallOf(hits, lasting(before.hits, after.hits)))
    if (isFirst(hits, probe)) selfFirst.push(1)
    else if (await isStillHeld(replica, probe)) selfFirst.push(0)
  }
  return { asked: probes.length, selfFirst: meanOf(selfFirst), recall: meanOf(recalls) }
}

/** What was there before the search and after it: events go on, and what they changed in between is no fault of the index. */
function lasting(before: readonly ShardHit[], after: readonly ShardHit[]): readonly ShardHit[] {
  const similarities = new Map(after.map(({ itemId, similarity }) => [itemId, similarity]))
  return before.filter(({ itemId, similarity }) => similarities.get(itemId) === similarity)
}

/** An item that has a new picture, or is gone, was looked for in vain with reason. */
async function isStillHeld(replica: ShardReplica, { itemId, vector }: ProbeVector): Promise<boolean> {
  const held = await replica.objectVector(itemId, 0)
  return held !== null && held.length === vector.length && held.every((value, i) => value === vector[i])
}

function meanOf(values: readonly number[]): number | null {
  return values.length === 0 ? null : values.reduce((sum, value) => sum + value, 0) / values.length
}

/** Its own item is among the nearest, or so many are as near as it that it had no place: items may share a picture. */
function isFirst(hits: readonly ShardHit[], { itemId, vector }: ProbeVector): boolean {
  const own = hits.find(hit => hit.itemId === itemId)
  // Not quite 1: stored components are rounded.
  const toItself = vector.reduce((sum, component) => sum + component * component, 0)
  if (own === undefined) return hits.length === k && hits.at(-1)!.similarity >= toItself - tie
  return own.similarity >= hits[0]!.similarity - tie
}

/** A true neighbour that is no nearer than the last hit was not missed: another one, as near, took its place. */
export function recallOf(hits: readonly ShardHit[], exact: readonly ShardHit[]): number {
  if (exact.length === 0) return 1
  const found = new Set(hits.map(({ itemId }) => itemId))
  const last = hits.at(-1)?.similarity ?? -1
  const missed = exact.filter(({ itemId, similarity }) => !found.has(itemId) && similarity > last + tie)
  return 1 - missed.length / exact.length
}
