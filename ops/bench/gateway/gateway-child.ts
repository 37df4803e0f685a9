import { randomUUID } from 'node:crypto'
import { createNoopMeter } from '@opentelemetry/api'
import { defaultFanoutOptions } from '../../../query-gateway/fanout/fanout-options.ts'
import { createGateway } from '../../../query-gateway/gateway.ts'
import type { GatewayApp } from '../../../query-gateway/gateway-app.ts'
import type { GatewayPorts } from '../../../query-gateway/ports.ts'
import { RemoteReplica, type RemoteReplicaIdentity } from '../../../query-gateway/remote/remote-replica.ts'
import { ShardChannels } from '../../../query-gateway/remote/shard-channels.ts'
import { openCodecs, registerSchemas } from '../../../schemas/avro/codec.ts'
import type { Fingerprint, Generation, TopicEpoch } from '../../../schemas/ids.ts'
import { MemorySchemaDirectory } from '../../../schemas/testing/memory-schema-directory.ts'
import { engagementTopic } from '../../../schemas/topics.ts'
import { EmbeddedEventLog } from '../../../topologies/embedded/embedded-event-log.ts'
import { EmbeddedFeatureStore } from '../../../topologies/embedded/embedded-feature-store.ts'
import { EmbeddedEnvironment } from '../../../topologies/embedded/environment.ts'
import { pageDirectory } from '../../gateway-parts.ts'
import { serveCalls } from '../shard/child-calls.ts'
import { dims, shardCount } from './gateway-scene.ts'

export type ReplicaAddress = Pick<RemoteReplicaIdentity, 'address' | 'shard' | 'replica' | 'partitions'>

export interface GatewayProcessOptions {
  readonly directory: string
  readonly generation: Generation
  readonly fingerprint: Fingerprint
  readonly addresses: readonly ReplicaAddress[]
  readonly hedges: boolean
}

/**
 * The real gateway over replicas of other processes, with a log and a feature store of its own, as `serve` has them;
 * searches by vector need no more of its ports than these.
 */
class GatewayProcess {
  #app: GatewayApp | null = null

  async open({ directory, generation, fingerprint, addresses, hedges }: GatewayProcessOptions): Promise<string> {
    const environment = await EmbeddedEnvironment.open({ directory, clock: Date.now })
    const log = new EmbeddedEventLog(environment)
    const partitions = 2 * shardCount
    const forEver = { compacted: false, retentionMs: null, minCompactionLagMs: 0, tombstoneRetentionMs: 0 }
    await log.ensureTopic({ name: engagementTopic, partitions, ...forEver })
    const schemas = new MemorySchemaDirectory()
    await registerSchemas(schemas)
    const codecs = await openCodecs(schemas)
    const reported = { state: 'ready', indexAgeMs: 0 } as const
    const channels = new ShardChannels()
    const replicas = addresses.map(address => new RemoteReplica({ ...address, generation, reported }, {}, channels))
    const routed = { generation, model: 'bench', fingerprint, dims, shards: shardCount, state: 'active', share: 1 }
    const ports = {
      log,
      engagementCodec: codecs.engagement,
      features: new EmbeddedFeatureStore(environment),
      topicEpoch: '00000000000000aa' as TopicEpoch,
      partitions,
      routing: () => [routed],
      replicas: () => replicas,
      modelOf: () => undefined,
      ready: () => true,
      clock: Date.now,
      newId: randomUUID,
    }
    const none = { ratio: 0, burst: 0, reserve: 0 }
    this.#app = await createGateway(requiring(ports), {
      pageDirectory,
      meter: createNoopMeter(),
      fanout: hedges ? defaultFanoutOptions : { ...defaultFanoutOptions, extra: none },
    })
    return this.#app.listen({ host: '127.0.0.1', port: 0 })
  }

  cpuMs(): number {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1_000
  }
}

export type { GatewayProcess }

/** The ports that are there; use of another one ends the bench. */
function requiring(ports: Partial<GatewayPorts>): GatewayPorts {
  const missing = (name: string): object =>
    new Proxy(() => undefined, {
      get: () => {
        throw new Error(`the bench has no port ${name}`)
      },
      apply: () => {
        throw new Error(`the bench has no port ${name}`)
      },
    })
  return new Proxy(ports as GatewayPorts, {
    get: (_, name) => Reflect.get(ports, name) ?? missing(String(name)),
  })
}

serveCalls(new GatewayProcess())
