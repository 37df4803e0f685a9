import { mkdir } from 'node:fs/promises'
import { join } from 'node:path'
import { KafkaBroker } from './kafka-broker.ts'
import { RedisServer } from './redis-server.ts'
import { SchemaRegistryServer } from './schema-registry-server.ts'

export interface ServerPorts {
  readonly kafka: number
  readonly registry: number
  readonly redis: number
}

export interface KeptServers {
  /** Where all data lies and stays; absolute. */
  readonly directory: string
  readonly ports: ServerPorts
}

/** A healthy broker must not be taken for gone while other work keeps every core busy. */
const sessionTimeoutMs = 9_000

/** One Kafka broker, one schema registry and one Redis: what the distributed form needs. */
export class ServerSet {
  readonly kafka: KafkaBroker
  readonly registry: SchemaRegistryServer
  readonly redis: RedisServer

  /**
   * Starts the three side by side, on free ports and data that `stop` removes unless `kept` says otherwise. When one
   * fails, those that did start are stopped. @throws Error that says of each server that failed which it is and why
   */
  static async start(kept?: KeptServers): Promise<ServerSet> {
    const [kafka, registry, redis] = await Promise.allSettled([
      startIn('kafka', kept, options =>
        KafkaBroker.start({ ...options, sessionTimeoutMs, forLongRuns: kept !== undefined }),
      ),
      startIn('registry', kept, options => SchemaRegistryServer.start(options)),
      startIn('redis', kept, options => RedisServer.start(options)),
    ])
    if (kafka.status === 'fulfilled' && registry.status === 'fulfilled' && redis.status === 'fulfilled')
      return new ServerSet(kafka.value, registry.value, redis.value)
    const outcomes = [kafka, registry, redis]
    await Promise.all(outcomes.map(each => (each.status === 'fulfilled' ? each.value.stop() : null)))
    const reasons = outcomes.flatMap(each => (each.status === 'rejected' ? [(each.reason as Error).message] : []))
    throw new Error(reasons.join('\n'))
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

async function startIn<Server>(
  name: keyof ServerPorts,
  kept: KeptServers | undefined,
  start: (options: { readonly directory?: string; readonly port?: number }) => Promise<Server>,
): Promise<Server> {
  if (kept === undefined) return start({})
  const directory = join(kept.directory, name)
  await mkdir(directory, { recursive: true })
  return start({ directory, port: kept.ports[name] })
}
