import { RemoteReplica } from '../query-gateway/remote/remote-replica.ts'
import { shardReplicaContract } from '../shard-node/contracts/shard-replica-contract.ts'
import { createShardServer } from '../shard-node/http/shard-server.ts'

const secret = 'between gateways and shards'

shardReplicaContract('over HTTP', async node => {
  const server = createShardServer({ replicas: () => [node], failure: () => null, secret })
  const address = await server.listen({ host: '127.0.0.1', port: 0 })
  const { shard, replica, generation, partitions } = node
  const reported = { state: node.state, indexAgeMs: 0 }
  const remote = new RemoteReplica({ address, shard, replica, generation, partitions, reported }, { secret })
  return {
    replica: remote,
    close: async () => {
      await remote.close()
      await server.close()
    },
  }
})
