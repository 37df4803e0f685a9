import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import fastifyStatic from '@fastify/static'
import type { Logger } from 'pino'
import { createGateway } from '../query-gateway/gateway.ts'
import type { GatewayPorts, PipelineStatus } from '../query-gateway/ports.ts'
import type { FreshetError } from '../schemas/errors.ts'
import { DeadLetters } from '../topologies/dead-letters.ts'
import { openDataDirectory } from '../topologies/embedded/data-directory.ts'
import { Alarms } from './alarms.ts'
import { backUp } from './backup.ts'
import { startCanaryWatch } from './canary-parts.ts'
import { Closers } from './closers.ts'
import type { Config } from './config.ts'
import { checkPublicHost } from './config-rules.ts'
import { demoDirectory } from './demo-catalog.ts'
import { newDesk } from './desk-parts.ts'
import { newEngagement } from './engagement-part.ts'
import { openGatewayAccess } from './gateway-access.ts'
import { gatewayLimits, pageDirectory, routedGenerations } from './gateway-parts.ts'
import { GenerationRoles } from './generation-roles.ts'
import { type ImageRole, openImages } from './image-roles.ts'
import { listenOn } from './listen.ts'
import { OpenLetters } from './open-letters.ts'
import { shardDirectory } from './pipeline-parts.ts'
import { RecentByGeneration } from './roles/recent-routes.ts'
import { searchOptions } from './search-options.ts'
import { writeSnapshots } from './snapshot.ts'
import { openStorage, type Storage } from './storage.ts'
import { openTelemetry, type Telemetry } from './telemetry/telemetry.ts'
import { traceLog } from './telemetry/traced-log.ts'

export interface RunningServer {
  /** Where it listens, such as `http://127.0.0.1:7480`. */
  readonly url: string
  /** With which this process may call its own API; null where no key is asked for. */
  readonly ownKey: string | null
  /** Drains and ends: no new requests, jobs handed back, checkpoints written, directory unlocked. Repeatable. */
  close(): Promise<void>
}

/**
 * All roles in this process on one data directory. Resolves when it listens.
 * @throws FreshetError `data-locked` | `data-format` | `model-invalid` | `fingerprint-mismatch` | `topic-*` | storage codes
 */
export async function startServer(config: Config, log: Logger): Promise<RunningServer> {
  const closers = new Closers()
  try {
    const server = await start(config, log, closers)
    return { ...server, close: () => closers.close() }
  } catch (thrown) {
    await closers.close()
    throw thrown
  }
}

const clock = (): number => Date.now()

type Listening = Pick<RunningServer, 'url' | 'ownKey'>

async function start(config: Config, log: Logger, closers: Closers): Promise<Listening> {
  checkPublicHost(config)
  const telemetry = await openTelemetry({ role: 'serve', environment: process.env, log })
  closers.add(() => telemetry.close())
  const alarms = new Alarms(log, clock)
  const directory = await openDataDirectory(config.dataDir)
  closers.add(() => directory.close())
  const storage = await openStorage(config, log, clock)
  closers.add(() => storage.close())
  traceLog(storage.log, telemetry.meter)
  const recent = new RecentByGeneration(clock)
  // The blob store asks who refers to its blobs when it evicts, which is never before the roles run.
  const running: { roles: GenerationRoles | null } = { roles: null }
  const images = await openImages({
    config,
    stores: storage,
    blobs: {
      directory: directory.blobDirectory,
      isReferenced: async digests => running.roles?.referenced(digests) ?? new Set(digests),
    },
    clock,
  })
  closers.add(() => images.close())
  const roles = await GenerationRoles.start({
    config,
    storage,
    images,
    alarms,
    log,
    clock,
    meter: telemetry.meter,
    onSearchable: (generation, items) => recent.add(generation, items),
  })
  running.roles = roles
  closers.add(() => roles.close())
  const onTrouble = (error: FreshetError) => alarms.raise('engagement', error)
  const engagement = newEngagement({ ports: storage, partitions: 'all', onTrouble, meter: telemetry.meter })
  engagement.start()
  closers.add(() => engagement.stop())
  return listen(config, { storage, images, roles, alarms, recent, telemetry }, { log, closers })
}

interface Parts {
  readonly storage: Storage
  readonly images: ImageRole
  readonly roles: GenerationRoles
  readonly alarms: Alarms
  readonly recent: RecentByGeneration
  readonly telemetry: Telemetry
}

async function listen(
  config: Config,
  parts: Parts,
  { log, closers }: { readonly log: Logger; readonly closers: Closers },
): Promise<Listening> {
  const { access, allowedHosts, ownKey } = await openGatewayAccess(config, { log, alarms: parts.alarms, closers })
  const gateway = gatewayPorts(config, parts)
  const { storage, images, roles } = parts
  const desk = newDesk({
    config,
    log,
    stored: storage,
    gateway,
    images,
    replicas: () => roles.shards(),
    topicEpoch: () => storage.topicEpoch,
    throttledBy: generation => roles.throttle.throttledBy(generation),
    isOneMachine: true,
    evidenceDirectory: join(config.dataDir, 'evidence'),
  })
  desk.start()
  closers.add(() => desk.close())
  const { alarms, telemetry } = parts
  const watch = startCanaryWatch({ config, search: gateway, stored: storage, meter: telemetry.meter, alarms })
  closers.add(() => watch.stop())
  const app = await createGateway(
    { ...gateway, generations: desk },
    {
      pageDirectory,
      ...gatewayLimits(config),
      ...searchOptions(config),
      logger: log,
      meter: parts.telemetry.meter,
      metricsText: () => parts.telemetry.metricsText(),
      access,
      ...(allowedHosts === undefined ? {} : { allowedHosts }),
    },
  )
  await serveSamples(app, config.demo)
  closers.add(() => app.close())
  return { url: await listenOn(app, config), ownKey }
}

type App = Awaited<ReturnType<typeof createGateway>>

/** The rooms in which the models find most of what is there; the page shows the first few. */
const bestRooms = ['room-010.jpg', 'room-008.jpg', 'room-005.jpg', 'room-016.jpg', 'room-017.jpg', 'room-022.jpg']

/** Photos of rooms to try the demo with; none without it. */
async function serveSamples(app: App, isDemo: boolean): Promise<void> {
  const root = join(demoDirectory, 'rooms')
  const rooms = isDemo ? new Set([...bestRooms, ...readdirSync(root)]) : []
  const addresses = Array.from(rooms, name => `/samples/${name}`)
  app.get('/samples/index.json', { schema: { hide: true } }, async () => addresses)
  if (!isDemo) return
  await app.register(fastifyStatic, { root, prefix: '/samples/', decorateReply: false, schemaHide: true })
}

function gatewayPorts(config: Config, parts: Parts): Omit<GatewayPorts, 'generations'> {
  const { storage, images, roles, recent } = parts
  const { codecs } = storage
  const deadLetters = new DeadLetters({
    log: storage.log,
    store: storage.keyValueStore('dead-letters'),
    codec: codecs.deadLetters,
    redrive: letter => roles.redrive(letter),
  })
  const openLetters = new OpenLetters(deadLetters, clock)
  return {
    log: storage.log,
    catalogCodec: codecs.catalog,
    engagementCodec: codecs.engagement,
    features: storage.features,
    partitions: storage.partitions,
    topicEpoch: storage.topicEpoch,
    routing: () => routedGenerations(roles.state),
    replicas: () => roles.shards(),
    modelOf: generation => roles.models.modelOf(generation),
    fetchImage: images.fetchImage,
    blobs: images.blobs,
    deadLetters,
    pipeline: () => pipelineStatus(parts, openLetters),
    recentItems: () => recentOf(roles, recent).items,
    backup: directory => backUp(backupSource(config, parts), directory),
    snapshot: request => writeSnapshots(shardSources(config, parts), request),
    ready: () => roles.failure() === null && roles.models.isWhole,
    clock,
    newId: randomUUID,
  }
}

/** Of the generation that most queries go to: another one makes the same items searchable once more. */
function recentOf({ state }: GenerationRoles, recent: RecentByGeneration) {
  const [main] = [...state.generations.values()].toSorted((a, b) => b.share - a.share)
  return recent.of(main?.started.generation ?? '')
}

async function pipelineStatus(
  { storage, roles, alarms, recent }: Parts,
  openLetters: OpenLetters,
): Promise<PipelineStatus> {
  return {
    rates: { searchable: recentOf(roles, recent).perSecond },
    queue: await storage.queue.depth(),
    processes: roles.models.processes(),
    alarms: alarms.list(),
    deadLetters: await openLetters.count(),
  }
}

function backupSource(config: Config, parts: Parts) {
  return { dataDir: config.dataDir, storage: parts.storage, shards: shardSources(config, parts) }
}

function shardSources({ dataDir }: Config, { roles }: Parts) {
  return roles.shards().map(node => ({ node, directory: shardDirectory(dataDir, node.generation, node.shard) }))
}
