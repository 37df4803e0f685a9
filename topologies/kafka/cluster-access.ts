import kafkajs, { type Cluster, type Kafka } from 'kafkajs'

/**
 * Connections of one reader or one task to the cluster. kafkajs offers what we need of it (`Cluster`, `Broker`, typed
 * and public) to partition assigners alone, so a consumer that never runs is made for its sake.
 *
 * Each has connections of its own: a broker answers the requests of one connection one after the other, and a fetch
 * that waits for records would keep all that follow waiting.
 */
export interface ClusterAccess {
  readonly cluster: Cluster
  close(): Promise<void>
}

export function accessCluster(kafka: Kafka): ClusterAccess {
  let cluster: Cluster | undefined
  const { roundRobin } = kafkajs.PartitionAssigners
  const consumer = kafka.consumer({
    groupId: 'freshet-never-joined',
    allowAutoTopicCreation: false,
    partitionAssigners: [
      config => {
        cluster = config.cluster
        return roundRobin(config)
      },
    ],
  })
  if (cluster === undefined) throw new TypeError('this kafkajs does not hand its cluster to partition assigners')
  return { cluster, close: () => consumer.disconnect() }
}

interface ClosedConnection {
  readonly name: string
  readonly host: string
  readonly port: number
}

/** A broker that closed its connection must be forgotten, or kafkajs uses the dead connection again. */
export function forgetClosedConnection(cluster: Cluster, thrown: unknown): void {
  if (!(thrown instanceof Error) || thrown.name !== 'KafkaJSConnectionClosedError') return
  const { host, port } = thrown as Error & ClosedConnection
  cluster.removeBroker({ host, port })
}
