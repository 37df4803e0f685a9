import { execFile } from 'node:child_process'
import { mkdir, mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { promisify } from 'node:util'
import { type Codecs, openCodecs } from '../../../schemas/avro/codec.ts'
import { FreshetClient } from '../../../schemas/client.ts'
import type { Generation, ReplicaId, TopicEpoch } from '../../../schemas/ids.ts'
import { ConfluentSchemaRegistry } from '../../../topologies/confluent/confluent-schema-registry.ts'
import { KafkaEventLog } from '../../../topologies/kafka/kafka-event-log.ts'
import { freePort } from '../../../topologies/servers/free-ports.ts'
import { readTopicEpoch } from '../../topic-epoch.ts'
import { FaultServers } from './fault-servers.ts'
import { Fleet, type FleetPlace } from './fleet.ts'
import { type Picture, writePictures } from './pictures.ts'
import { ReplicaAccess } from './replica-access.ts'

/** How an installation differs from another one. */
export interface InstallationPlan {
  /** Of the group of scenarios that share it. */
  readonly name: string
  readonly brokers: 1 | 3
  readonly kafkaSettings: Readonly<Record<string, string>>
  /** Configuration of all roles, beside the usual one. */
  readonly env: Readonly<Record<string, string>>
  /** One unless it says two. */
  readonly gateways?: 2
}

const entry = fileURLToPath(new URL('../../freshet.ts', import.meta.url))
const pictureCount = 300
const secret = 'between the roles'
/** Made by the first dispatcher. */
export const generation = 'g1' as Generation

/** By the place of the shard process. */
const replicas: ReadonlyMap<string, ReplicaId> = new Map([
  ['shard-a', 'g1-0-a' as ReplicaId],
  ['shard-b', 'g1-0-b' as ReplicaId],
])

interface Parts {
  readonly directory: string
  readonly servers: FaultServers
  readonly env: Readonly<Record<string, string>>
  readonly fleet: Fleet
  readonly gatewayUrls: ReadonlyMap<string, string>
  readonly pictures: readonly Picture[]
  readonly registry: ConfluentSchemaRegistry
  readonly codecs: Codecs
  readonly log: KafkaEventLog
  readonly topicEpoch: TopicEpoch
}

/**
 * The distributed form as it is run: Kafka, registry and Redis, and two dispatchers, two workers, two replicas of one
 * shard and a gateway or two, every one a process of its own. In it this process has a log of its own too, as a
 * catalogue service has that writes to the topic itself.
 */
export class FaultInstallation {
  readonly directory: string
  readonly servers: FaultServers
  readonly fleet: Fleet
  /** By the place of the gateway. */
  readonly gatewayUrls: ReadonlyMap<string, string>
  /** Of the first gateway. */
  readonly client: FreshetClient
  readonly pictures: readonly Picture[]
  readonly codecs: Codecs
  readonly log: KafkaEventLog
  readonly topicEpoch: TopicEpoch
  readonly #env: Readonly<Record<string, string>>
  readonly #registry: ConfluentSchemaRegistry

  /** Resolves when every role is ready. @throws Error with what the one that failed has printed */
  static async start(plan: InstallationPlan): Promise<FaultInstallation> {
    const directory = await mkdtemp(join(tmpdir(), 'freshet-faults-'))
    const closing: (() => Promise<unknown>)[] = [() => rm(directory, { recursive: true, force: true })]
    try {
      return await open(plan, directory, closing)
    } catch (thrown) {
      for (const close of closing.reverse()) await close()
      throw thrown
    }
  }

  constructor(parts: Parts) {
    this.directory = parts.directory
    this.servers = parts.servers
    this.fleet = parts.fleet
    this.gatewayUrls = parts.gatewayUrls
    const [baseUrl] = parts.gatewayUrls.values()
    this.client = new FreshetClient({ baseUrl: baseUrl! })
    this.pictures = parts.pictures
    this.codecs = parts.codecs
    this.log = parts.log
    this.topicEpoch = parts.topicEpoch
    this.#env = parts.env
    this.#registry = parts.registry
  }

  /** Of the shard processes that run, by place. */
  replicas(): ReadonlyMap<string, ReplicaAccess> {
    const running = this.fleet.names('shard').filter(name => this.fleet.isRunning(name))
    return new Map(
      running.map(name => [
        name,
        new ReplicaAccess(replicas.get(name)!, { url: this.fleet.process(name).url, secret }),
      ]),
    )
  }

  /** Runs a `freshet` command against it. Resolves with what it printed. @throws Error when it fails */
  command(...args: readonly string[]): Promise<string> {
    return runCommand(args, this.#env)
  }

  /** Where the process of a place keeps what is its own, such as `shard-0-b`. */
  roleDirectory(name: string): string {
    return join(rolesIn(this.directory), name)
  }

  async stop(): Promise<void> {
    await this.fleet.end()
    await this.log.close()
    await this.#registry.close()
    await this.servers.stop()
    await rm(this.directory, { recursive: true, force: true })
  }
}

const dataIn = (directory: string): string => join(directory, 'data')
const rolesIn = (directory: string): string => join(dataIn(directory), 'roles')
const picturesIn = (directory: string): string => join(directory, 'pictures')

/** `closing` takes what ends what was started, in its order. */
async function open(
  plan: InstallationPlan,
  directory: string,
  closing: (() => Promise<unknown>)[],
): Promise<FaultInstallation> {
  await mkdir(dataIn(directory))
  const pictures = await writePictures(picturesIn(directory), pictureCount)
  const { brokers, kafkaSettings } = plan
  const servers = await FaultServers.start({ directory, brokers, kafkaSettings })
  closing.push(() => servers.stop())
  const env = { ...environmentOf(directory, servers), ...plan.env }
  await runCommand(['schemas', 'register'], env)
  await runCommand(['topics', 'apply'], env)
  const registry = new ConfluentSchemaRegistry({ urls: [servers.registry.url], timeoutMs: 10_000 })
  closing.push(() => registry.close())
  const codecs = await openCodecs(registry)
  const log = new KafkaEventLog({ brokers: servers.kafka.brokers, clientId: 'catalogue-service' })
  closing.push(() => log.close())
  const topicEpoch = await readTopicEpoch(log, codecs.catalog)
  const gatewayPorts = new Map<string, number>()
  // Fixed ports: clients find them again when they come back.
  for (const name of plan.gateways === 2 ? ['gateway', 'gateway-2'] : ['gateway'])
    gatewayPorts.set(name, await freePort())
  const fleet = new Fleet(placesOf(gatewayPorts), env)
  closing.push(() => fleet.end())
  await fleet.startAll()
  const gatewayUrls = new Map(Array.from(gatewayPorts, ([name, port]) => [name, `http://127.0.0.1:${port}`]))
  return new FaultInstallation({
    directory,
    servers,
    env,
    fleet,
    gatewayUrls,
    pictures,
    registry,
    codecs,
    log,
    topicEpoch,
  })
}

function environmentOf(directory: string, { kafka, registry, redis }: FaultServers): Readonly<Record<string, string>> {
  return {
    FRESHET_KAFKA_BROKERS: kafka.brokers.join(','),
    FRESHET_REGISTRY_URL: registry.url,
    FRESHET_REDIS_URL: redis.url,
    FRESHET_DATA_DIR: dataIn(directory),
    FRESHET_IMAGE_ROOTS: picturesIn(directory),
    FRESHET_STUB_MODEL: 'true',
    FRESHET_INTERNAL_SECRET: secret,
    FRESHET_LOG_LEVEL: 'warn',
    // Short, so that what is lost or held by a dead process comes back within a run.
    FRESHET_DISPATCH_OVERDUE_MS: '5s',
    FRESHET_WORKERS_LEASE_MS: '6s',
    FRESHET_CHECKPOINT_EVERY_MS: '2s',
  }
}

function placesOf(gatewayPorts: ReadonlyMap<string, number>): readonly FleetPlace[] {
  const shard = (replica: string): FleetPlace => {
    return { name: `shard-${replica}`, role: 'shard', args: ['--replica', replica] }
  }
  return [
    { name: 'dispatch-1', role: 'dispatch', args: [] },
    { name: 'dispatch-2', role: 'dispatch', args: [] },
    shard('a'),
    shard('b'),
    { name: 'work-1', role: 'work', args: [] },
    { name: 'work-2', role: 'work', args: [] },
    ...Array.from(gatewayPorts, ([name, port]): FleetPlace => {
      return { name, role: 'gateway', args: ['--port', String(port)] }
    }),
  ]
}

async function runCommand(args: readonly string[], env: Readonly<Record<string, string>>): Promise<string> {
  const options = { env: { ...process.env, ...env } }
  const { stdout } = await promisify(execFile)(process.execPath, [entry, ...args], options)
  return stdout
}
