import { basename, join } from 'node:path'
import { FreshetError } from '../schemas/errors.ts'
import type { SnapshotAnswer, SnapshotRequest } from '../schemas/http-operations.ts'
import type { ShardNode } from '../shard-node/shard-node.ts'
import { bytesIn, copyFailure, makeEmpty } from './backup.ts'

/** A shard and its directory, whose name the snapshot's gets. */
export interface SnapshotSource {
  readonly node: Pick<ShardNode, 'shard' | 'replica' | 'exportTo'>
  readonly directory: string
}

/**
 * Writes a snapshot of each shard, or of the one named, while they serve; each into a directory of its own.
 * @throws FreshetError `bad-request` when such a directory is not empty; `not-found` for a shard that is not here;
 * `storage-full` | `storage-failed`
 */
export async function writeSnapshots(
  sources: readonly SnapshotSource[],
  { directory, shard }: SnapshotRequest,
): Promise<SnapshotAnswer['shards']> {
  const chosen = sources.filter(({ node }) => shard === undefined || node.shard === shard)
  if (chosen.length === 0) throw new FreshetError('not-found', `there is no shard ${shard} here`)
  const written = []
  for (const { node, directory: from } of chosen) {
    const target = join(directory, basename(from))
    const startedAt = performance.now()
    await makeEmpty(target)
    await node.exportTo(target).catch(thrown => {
      throw copyFailure(thrown, target)
    })
    const tookMs = performance.now() - startedAt
    written.push({ shard: node.shard, replica: node.replica, directory: target, bytes: await bytesIn(target), tookMs })
  }
  return written
}
