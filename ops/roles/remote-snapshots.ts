import { join } from 'node:path'
import type { RemoteReplica } from '../../query-gateway/remote/remote-replica.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { SnapshotAnswer, SnapshotRequest } from '../../schemas/http-operations.ts'
import { shardName } from '../pipeline-parts.ts'

type SnapshotReplica = Pick<RemoteReplica, 'generation' | 'shard' | 'replica' | 'reported' | 'exportTo' | 'status'>

/**
 * Has one replica of each shard, or of the one named, write a snapshot on its machine, under the roots that are
 * configured there; the shard's name is that of the directory.
 * @throws FreshetError `not-found` when no replica of the shard is ready; what the replica says
 */
export async function snapshotRemotely(
  replicas: readonly SnapshotReplica[],
  { directory, shard }: SnapshotRequest,
): Promise<SnapshotAnswer['shards']> {
  const chosen = new Map<string, SnapshotReplica>()
  for (const replica of replicas) {
    const isAsked = shard === undefined || replica.shard === shard
    if (isAsked && replica.reported.state === 'ready') chosen.set(shardName(replica.generation, replica.shard), replica)
  }
  if (chosen.size === 0)
    throw new FreshetError(
      'not-found',
      `no replica of ${shard === undefined ? 'any shard' : `shard ${shard}`} is ready`,
    )
  const written = []
  for (const [name, replica] of chosen) {
    const target = join(directory, name)
    const startedAt = performance.now()
    await replica.exportTo(target)
    const tookMs = performance.now() - startedAt
    const { bytes } = (await replica.status()).checkpoint
    written.push({ shard: replica.shard, replica: replica.replica, directory: target, bytes, tookMs })
  }
  return written
}
