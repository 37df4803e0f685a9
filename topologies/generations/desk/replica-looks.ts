import type { Generation } from '../../../schemas/ids.ts'
import type { ShardReplica } from '../../../schemas/shard-api.ts'
import type { ReplicaLook } from './generation-look.ts'

/** One that takes longer is one that does not answer: a decision waits for all of them. */
const longestMs = 1_000
/** Of the generation to be undone, whose replicas may hang just then: nothing is decided on what they say. */
const undoneMs = 100

/** Asks replicas how they are, all at once. */
export function askReplicas(
  replicas: readonly ShardReplica[],
  undone: Generation | null = null,
): Promise<readonly ReplicaLook[]> {
  return Promise.all(replicas.map(each => askReplica(each, each.generation === undone ? undoneMs : longestMs)))
}

async function askReplica(asked: ShardReplica, withinMs: number): Promise<ReplicaLook> {
  const { generation, shard, replica, partitions } = asked
  const { promise: late, resolve } = Promise.withResolvers<null>()
  const timer = setTimeout(() => resolve(null), withinMs)
  const status = await Promise.race([asked.status().catch(() => null), late])
  clearTimeout(timer)
  return { generation, shard, replica, partitions, status }
}
