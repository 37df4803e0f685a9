import { randomUUID } from 'node:crypto'
import { readdirSync } from 'node:fs'
import { join } from 'node:path'
import fastifyStatic from '@fastify/static'
import type { Logger } from 'pino'
import { createGateway } from '../query-gateway/gateway.ts'
import type { GatewayPorts, PipelineStatus } from '../query-gateway/ports.ts'
import type { FreshetError } from '../schemas/errors.ts'
import type { Generation } from '../schemas/ids.ts'
import { DeadLetters } from '../topologies/dead-letters.ts'
import { openDataDirectory } from '../topologies/embedded/data-directory.ts'
import { Alarms } from './alarms.ts'
import { backUp } from './backup.ts'
import { Closers } from './closers.ts'
import type { Config } from './config.ts'
import { checkPublicHost } from './config-rules.ts'
import { demoDirectory } from './demo-catalog.ts'
import { newEngagement } from './engagement-part.ts'
import { openGatewayAccess } from './gateway-access.ts'
import { gatewayLimits, pageDirectory, routedGeneration } from './gateway-parts.ts'
import { type GenerationRoles, startGeneration } from './generation-roles.ts'
import { type ImageRole, type ModelRole, openImages, openModel } from './image-roles.ts'
import { listenOn } from './listen.ts'
import { OpenLetters } from './open-letters.ts'
import { shardDirectory } from './pipeline-parts.ts'
import { RecentItems } from './recent-items.ts'
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
  const [storage, model] = await openBoth(config, log, closers)
  traceLog(storage.log, telemetry.meter)
  const recent = new RecentItems(clock)
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
  const roles = await startGeneration({
    config,
    storage,
    model,
    images,
    alarms,
    log,
    clock,
    meter: telemetry.meter,
    onSearchable: items => recent.add(items),
  })
  running.roles = roles
  closers.add(() => roles.close())
  const onTrouble = (error: FreshetError) => alarms.raise('engagement', error)
  const engagement = newEngagement({ ports: storage, partitions: 'all', onTrouble, meter: telemetry.meter })
  engagement.start()
  closers.add(() => engagement.stop())
  return listen(config, { storage, model, images, roles, alarms, recent, telemetry }, { log, closers })
}

/** Side by side, since loading the models takes the longest. What opened is closed when the other one fails. */
async function openBoth(config: Config, log: Logger, closers: Closers): Promise<readonly [Storage, ModelRole]> {
  const [storage, model] = await Promise.allSettled([openStorage(config, log, clock), openModel(config, log)])
  if (storage.status === 'fulfilled') closers.add(() => storage.value.close())
  if (model.status === 'fulfilled') closers.add(() => model.value.close())
  if (storage.status === 'rejected') throw storage.reason
  if (model.status === 'rejected') throw model.reason
  return [storage.value, model.value]
}

interface Parts {
  readonly storage: Storage
  readonly model: ModelRole
  readonly images: ImageRole
  readonly roles: GenerationRoles
  readonly alarms: Alarms
  readonly recent: RecentItems
  readonly telemetry: Telemetry
}

async function listen(
  config: Config,
  parts: Parts,
  { log, closers }: { readonly log: Logger; readonly closers: Closers },
): Promise<Listening> {
  const { access, allowedHosts, ownKey } = await openGatewayAccess(config, { log, alarms: parts.alarms, closers })
  const app = await createGateway(gatewayPorts(config, parts), {
    pageDirectory,
    ...gatewayLimits(config),
    ...searchOptions(config),
    logger: log,
    meter: parts.telemetry.meter,
    metricsText: () => parts.telemetry.metricsText(),
    access,
    ...(allowedHosts === undefined ? {} : { allowedHosts }),
  })
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

function gatewayPorts(config: Config, parts: Parts): GatewayPorts {
  const { storage, model, images, roles, recent } = parts
  const { codecs } = storage
  const deadLetters = new DeadLetters({
    log: storage.log,
    store: storage.keyValueStore('dead-letters'),
    codec: codecs.deadLetters,
    redrive: letter => roles.dispatch.redrive(letter),
  })
  const openLetters = new OpenLetters(deadLetters, clock)
  return {
    log: storage.log,
    catalogCodec: codecs.catalog,
    engagementCodec: codecs.engagement,
    features: storage.features,
    partitions: storage.partitions,
    topicEpoch: storage.topicEpoch,
    routing: () => [routedGeneration(roles.status)],
    replicas: () => roles.shards,
    modelOf: generation => modelOf(parts, generation),
    fetchImage: images.fetchImage,
    blobs: images.blobs,
    deadLetters,
    pipeline: () => pipelineStatus(parts, openLetters),
    recentItems: () => recent.list(),
    backup: directory => backUp(backupSource(config, parts), directory),
    snapshot: request => writeSnapshots(shardSources(config, parts), request),
    ready: () => roles.failure() === null && model.processes().every(({ state }) => state !== 'stopped'),
    clock,
    newId: randomUUID,
  }
}

function modelOf({ model, roles }: Parts, generation: Generation) {
  return generation === roles.status.started.generation ? model.model : undefined
}

async function pipelineStatus(
  { storage, model, alarms, recent }: Parts,
  openLetters: OpenLetters,
): Promise<PipelineStatus> {
  return {
    rates: { searchable: recent.perSecond() },
    queue: await storage.queue.depth(),
    processes: model.processes(),
    alarms: alarms.list(),
    deadLetters: await openLetters.count(),
  }
}

function backupSource(config: Config, parts: Parts) {
  return { dataDir: config.dataDir, storage: parts.storage, shards: shardSources(config, parts) }
}

function shardSources(config: Config, { roles }: Parts) {
  const { generation } = roles.status.started
  return roles.shards.map((node, number) => ({ node, directory: shardDirectory(config.dataDir, generation, number) }))
}
