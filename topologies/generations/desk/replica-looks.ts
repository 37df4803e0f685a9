import type { ShardReplica } from '../../../schemas/shard-api.ts'
import type { ReplicaLook } from './generation-look.ts'

/** One that takes longer is one that does not answer: a decision waits for all of them. */
const longestMs = 1_000

/** Asks replicas how they are, all at once. */
export function askReplicas(replicas: readonly ShardReplica[]): Promise<readonly ReplicaLook[]> {
  return Promise.all(replicas.map(askReplica))
}

async function askReplica(asked: ShardReplica): Promise<ReplicaLook> {
  const { generation, shard, replica, partitions } = asked
  const { promise: late, resolve } = Promise.withResolvers<null>()
  const timer = setTimeout(() => resolve(null), longestMs)
  const status = await Promise.race([asked.status().catch(() => null), late])
  clearTimeout(timer)
  return { generation, shard, replica, partitions, status }
}
