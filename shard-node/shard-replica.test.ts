import { shardReplicaContract } from './contracts/shard-replica-contract.ts'

shardReplicaContract('in process', async node => ({ replica: node, close: async () => undefined }))
