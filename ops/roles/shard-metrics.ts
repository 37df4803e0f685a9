import type { ObservedGauge } from '../../query-gateway/observed-gauges.ts'
import type { Status } from '../../schemas/http-operations.ts'
import type { ShardNode } from '../../shard-node/shard-node.ts'

/** The replicas of one process. */
export interface KnownShards {
  readonly nodes: readonly ShardNode[]
  readonly shards: Status['shards']
}

/** What other processes cannot tell of a replica. */
export const shardGauges: readonly ObservedGauge<KnownShards>[] = [
  {
    name: 'freshet.refused_records',
    description: 'Records of the mutation log that the replicas of this process could not take',
    read: ({ nodes }) => [[nodes.reduce((sum, { refusedRecords }) => sum + refusedRecords, 0), {}]],
  },
  {
    name: 'freshet.replica.watermark_offset',
    description: 'Catalog offset up to which everything is searchable; -1 before the first',
    *read({ shards }) {
      for (const { shard, replicas } of shards)
        for (const { id, generation, watermark } of replicas)
          for (const [partition, offset] of Object.entries(watermark))
            yield [Number(offset), { generation, shard: String(shard), replica: id, partition }]
    },
  },
]
