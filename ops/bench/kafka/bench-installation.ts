import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { RemoteReplica } from '../../../query-gateway/remote/remote-replica.ts'
import { type Codecs, openCodecs } from '../../../schemas/avro/codec.ts'
import type { ReplicaId } from '../../../schemas/ids.ts'
import { asPartition, asShardId } from '../../../schemas/ids.ts'
import { shardOf } from '../../../schemas/partition.ts'
import type { KafkaEventLog } from '../../../topologies/kafka/kafka-event-log.ts'
import { freePorts } from '../../../topologies/servers/free-ports.ts'
import { ServerSet } from '../../../topologies/servers/server-set.ts'
import { Closers } from '../../closers.ts'
import { type Config, parseConfig } from '../../config.ts'
import { openConfluentRegistry, openKafkaLog } from '../../log-and-registry.ts'
import type { RoleName } from '../../roles/role.ts'
import { checkRegistry, registerAll } from '../../schema-set-up.ts'
import { RoleProcess } from '../../testing/role-process.ts'
import { applyTopics, firstGeneration, wantedTopics } from '../../topic-set-up.ts'
import { withScratch } from '../scratch.ts'
import type { CountedProcesses } from './process-cpu.ts'

export interface InstallationOptions {
  readonly shards: number
  /** Further configuration of the roles. */
  readonly env?: Readonly<Record<string, string>>
}

/**
 * The distributed form as it is run, with the stub model: a real Kafka, registry and Redis, and roles as processes,
 * all of them on this machine. Schemas are registered and topics made, no role is started.
 */
export class BenchInstallation {
  readonly servers: ServerSet
  readonly config: Config
  /** Of this process, for what catalogue services do. */
  readonly log: KafkaEventLog
  readonly codecs: Codecs
  readonly #env: Readonly<Record<string, string>>
  readonly #roles = new Map<string, RoleProcess>()

  private constructor(
    parts: Pick<BenchInstallation, 'servers' | 'config' | 'log' | 'codecs'>,
    env: Readonly<Record<string, string>>,
  ) {
    this.servers = parts.servers
    this.config = parts.config
    this.log = parts.log
    this.codecs = parts.codecs
    this.#env = env
  }

  /** Everything that it started has ended when this resolves. */
  static async with<T>(
    options: InstallationOptions,
    body: (installation: BenchInstallation) => Promise<T>,
  ): Promise<T> {
    return withScratch(async directory => {
      const closers = new Closers()
      try {
        const installation = await BenchInstallation.#open(directory, options, closers)
        return await body(installation)
      } finally {
        await closers.close()
      }
    })
  }

  static async #open(directory: string, options: InstallationOptions, closers: Closers): Promise<BenchInstallation> {
    const [kafka, registry, redis] = (await freePorts(3)) as [number, number, number]
    const servers = await ServerSet.start({ directory: join(directory, 'servers'), ports: { kafka, registry, redis } })
    closers.add(() => servers.stop())
    const env = {
      FRESHET_KAFKA_BROKERS: servers.kafka.brokers.join(','),
      FRESHET_REGISTRY_URL: servers.registry.url,
      FRESHET_REDIS_URL: servers.redis.url,
      FRESHET_DATA_DIR: join(directory, 'data'),
      FRESHET_BLOBS_DIR: join(directory, 'blobs'),
      FRESHET_STUB_MODEL: 'true',
      FRESHET_LOG_LEVEL: 'warn',
      FRESHET_SHARDS: String(options.shards),
      ...options.env,
    }
    mkdirSync(env.FRESHET_BLOBS_DIR)
    const { config } = parseConfig({ environment: env, flags: {}, workingDir: directory, machine: { cores: 1 } })
    const registryPort = await openConfluentRegistry(config.registry)
    closers.add(() => registryPort.close())
    await registerAll(registryPort, await checkRegistry(registryPort))
    const codecs = await openCodecs(registryPort)
    const log = await openKafkaLog(config.kafka, { clientId: 'bench' })
    closers.add(() => log.close())
    await applyTopics(log, await wantedTopics(config, log, codecs.control), codecs.catalog)
    const installation = new BenchInstallation({ servers, config, log, codecs }, env)
    closers.add(() => installation.#stopRoles())
    return installation
  }

  get blobsDir(): string {
    return this.config.blobsDir!
  }

  /** Resolves when it is ready; a name tells several of a role apart. */
  async start(role: RoleName, { name = role as string, args = [] as readonly string[] } = {}): Promise<RoleProcess> {
    const started = await RoleProcess.start(role, { env: this.#env, args: ['--port', '0', ...args] })
    this.#roles.set(name, started)
    return started
  }

  /** A shard's replica, started, and the way to ask it. */
  async startShard(number: number, letter: string): Promise<RemoteReplica> {
    const name = `shard ${number}${letter}`
    const { url } = await this.start('shard', { name, args: ['--shard', String(number), '--replica', letter] })
    const { partitions, shards } = this.config
    return new RemoteReplica({
      address: url,
      shard: asShardId(number),
      replica: `${firstGeneration}-${number}-${letter}` as ReplicaId,
      generation: firstGeneration,
      partitions: Array.from({ length: partitions }, (_, i) => asPartition(i)).filter(
        partition => shardOf(partition, shards) === number,
      ),
      reported: { state: 'ready', indexAgeMs: 0 },
    })
  }

  /** Roles, servers, and this process, which makes the load. */
  processes(): CountedProcesses {
    const { kafka, redis } = this.servers
    return new Map([
      ...Array.from(this.#roles, ([name, { pid }]) => [name, pid] as const),
      ['kafka', kafka.pidOf(1)!],
      ['redis', redis.pid!],
      ['load', process.pid],
    ])
  }

  async #stopRoles(): Promise<void> {
    await Promise.all([...this.#roles.values()].map(role => role.stop()))
  }
}
