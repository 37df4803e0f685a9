import { join } from 'node:path'
import { KafkaBroker } from '../../../topologies/servers/kafka-broker.ts'
import { RedisServer } from '../../../topologies/servers/redis-server.ts'
import { SchemaRegistryServer } from '../../../topologies/servers/schema-registry-server.ts'

export interface FaultServersOptions {
  /** The registry's schemas lie here: they outlive its process. */
  readonly directory: string
  readonly brokers: 1 | 3
  /** Of the brokers, beside their usual ones. */
  readonly kafkaSettings: Readonly<Record<string, string>>
}

/** A healthy broker must not be taken for gone while other work keeps every core busy. */
const sessionTimeoutMs = 6_000

/** Servers that a scenario may kill: what Kafka, registry and Redis have acknowledged outlives each of their processes. */
export class FaultServers {
  readonly kafka: KafkaBroker
  readonly registry: SchemaRegistryServer
  readonly redis: RedisServer

  static async start({ directory, brokers, kafkaSettings }: FaultServersOptions): Promise<FaultServers> {
    const started = await Promise.allSettled([
      KafkaBroker.start({ nodes: brokers, settings: kafkaSettings, sessionTimeoutMs }),
      SchemaRegistryServer.start({ directory: join(directory, 'registry') }),
      RedisServer.start(),
    ])
    const [kafka, registry, redis] = started
    if (kafka.status === 'fulfilled' && registry.status === 'fulfilled' && redis.status === 'fulfilled')
      return new FaultServers(kafka.value, registry.value, redis.value)
    await Promise.all(started.map(each => (each.status === 'fulfilled' ? each.value.stop() : null)))
    throw started.find(each => each.status === 'rejected')!.reason
  }

  private constructor(kafka: KafkaBroker, registry: SchemaRegistryServer, redis: RedisServer) {
    this.kafka = kafka
    this.registry = registry
    this.redis = redis
  }

  async stop(): Promise<void> {
    await Promise.all([this.kafka.stop(), this.registry.stop(), this.redis.stop()])
  }
}
