import { randomUUID } from 'node:crypto'
import { join } from 'node:path'
import { createGateway } from '../../query-gateway/gateway.ts'
import type { GatewayPorts, PipelineStatus } from '../../query-gateway/ports.ts'
import { ReplicaDirectory } from '../../query-gateway/remote/replica-directory.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { TopicEpoch } from '../../schemas/ids.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import { DeadLetters } from '../../topologies/dead-letters.ts'
import type { FeatureStore } from '../../topologies/feature-store.ts'
import type { QueueDepth, WorkQueue } from '../../topologies/work-queue.ts'
import { Alarms } from '../alarms.ts'
import { startCanaryWatch } from '../canary-parts.ts'
import type { Config } from '../config.ts'
import { checkPublicHost } from '../config-rules.ts'
import { newDesk } from '../desk-parts.ts'
import { newFeatureStore, newWorkQueue, openDistributedLog } from '../distributed-storage.ts'
import { openGatewayAccess } from '../gateway-access.ts'
import { gatewayLimits, pageDirectory, routedGenerations } from '../gateway-parts.ts'
import type { ImageRole } from '../image-roles.ts'
import { listenOn } from '../listen.ts'
import type { ModelPools } from '../model-pools.ts'
import { OpenLetters, requireWanted } from '../open-letters.ts'
import { searchOptions } from '../search-options.ts'
import type { LocalStores, LogPorts } from '../storage.ts'
import { CatalogGuard } from './catalog-guard.ts'
import type { ControlFollower } from './control-follower.ts'
import { Polled } from './polled.ts'
import { type RecentOfShards, recentlySearchable } from './remote-recent.ts'
import { redriveRemotely } from './remote-redrive.ts'
import { snapshotRemotely } from './remote-snapshots.ts'
import { clock, type RoleContext } from './role.ts'
import { openFreeDirectory, openLocalStores } from './role-directory.ts'
import { followModels, openSharedImages, sharedPictures } from './work-role.ts'

/** `freshet gateway`: the HTTP API and the page, over replicas in other processes. */
export async function startGatewayRole(context: RoleContext): Promise<string> {
  const { config, log, closers, telemetry } = context
  checkPublicHost(config)
  const parts = await openParts(context)
  const { access, allowedHosts } = await openGatewayAccess(config, { log, alarms: parts.alarms, closers })
  const gateway = gatewayPorts(parts)
  const { ports, images, replicas, catalog } = parts
  const desk = newDesk({
    config,
    log,
    stored: ports,
    gateway,
    images,
    replicas: () => replicas.replicas(),
    topicEpoch: () => catalog.topicEpoch,
    throttledBy: () => null,
    isOneMachine: false,
    evidenceDirectory: join(sharedPictures(config), 'evidence'),
  })
  desk.start()
  closers.add(() => desk.close())
  const watching = { config, search: gateway, stored: ports, meter: telemetry.meter, alarms: parts.alarms }
  const watch = startCanaryWatch(watching)
  closers.add(() => watch.stop())
  const app = await createGateway(
    { ...gateway, generations: desk },
    {
      pageDirectory,
      ...gatewayLimits(config),
      ...searchOptions(config),
      logger: log,
      meter: telemetry.meter,
      metricsText: () => telemetry.metricsText(),
      access,
      ...(allowedHosts === undefined ? {} : { allowedHosts }),
    },
  )
  app.get('/samples/index.json', { schema: { hide: true } }, async () => [])
  closers.add(() => app.close())
  return listenOn(app, config)
}

interface GatewayRoleParts {
  readonly ports: LogPorts & LocalStores
  readonly models: ModelPools
  readonly images: ImageRole
  readonly alarms: Alarms
  readonly control: ControlFollower
  readonly replicas: ReplicaDirectory
  readonly features: FeatureStore
  readonly deadLetters: DeadLetters
  /** Asked in the background: queries and status go on without Redis, and status without Kafka. */
  readonly depth: Polled<QueueDepth>
  readonly openLetters: Polled<number>
  readonly catalog: CatalogGuard
  readonly catalogEnds: Polled<CatalogOffsets>
  readonly recent: Polled<RecentOfShards>
}

type CatalogOffsets = Awaited<ReturnType<GatewayPorts['log']['offsets']>>

const askEveryMs = 1_000

async function openParts(context: RoleContext): Promise<GatewayRoleParts> {
  const { config, log, closers } = context
  const directory = await openFreeDirectory(config.dataDir, 'gateway')
  closers.add(() => directory.close())
  const stores = await openLocalStores({ directory, clock, log, closers })
  const opening = { ...context, clientId: 'freshet-gateway' }
  const ports = { ...(await openDistributedLog(config, opening)), ...stores }
  const queue: WorkQueue = await newWorkQueue(config, closers)
  const features = await newFeatureStore(config, closers)
  const images = await openSharedImages(config, stores)
  closers.add(() => images.close())

  const alarms = new Alarms(log, clock)
  const alarm = (part: string) => (error: FreshetError) => alarms.raise(part, error)
  const { control, models } = await followModels(context, { ports, alarms })
  const replicas = await ReplicaDirectory.follow({
    log: ports.log,
    codec: ports.codecs.heartbeats,
    settings: { secret: config.internalSecret },
    onAlarm: alarm('replicas'),
  })
  closers.add(() => replicas.close())
  const deadLetters = new DeadLetters({
    log: ports.log,
    store: ports.keyValueStore('dead-letters'),
    codec: ports.codecs.deadLetters,
    redrive: async letter => {
      requireWanted(letter, control.state)
      return redriveRemotely(letter, {
        dispatchers: () => replicas.dispatchers(),
        codec: ports.codecs.deadLetters,
        secret: config.internalSecret,
      })
    },
  })
  const depth = await polled(() => queue.depth(), alarm('queue'))
  closers.add(() => depth.close())
  const letters = new OpenLetters(deadLetters, clock)
  const openLetters = await polled(() => letters.count(), alarm('dead letters'))
  closers.add(() => openLetters.close())
  const catalog = new CatalogGuard({
    log: ports.log,
    codec: ports.codecs.catalog,
    topicEpoch: epochOf(control, ports),
    onRecreated: alarm('catalog'),
  })
  const catalogEnds = await polled(() => catalog.look(), alarm('catalog'))
  closers.add(() => catalogEnds.close())
  const recent = await polled(() => askRecent(control, replicas, config), alarm('recent items'))
  closers.add(() => recent.close())
  return {
    recent,
    ports,
    models,
    images,
    alarms,
    control,
    replicas,
    features,
    deadLetters,
    depth,
    openLetters,
    catalog,
    catalogEnds,
  }
}

/** Of the generation that most queries go to; none before there is one. */
async function askRecent(
  { state }: ControlFollower,
  replicas: ReplicaDirectory,
  { internalSecret: secret }: Config,
): Promise<RecentOfShards> {
  const main = [...state.generations.values()].toSorted((a, b) => b.share - a.share)[0]
  if (main === undefined) return { items: [], perSecond: 0 }
  return recentlySearchable(replicas.replicas(), { generation: main.started.generation, secret })
}

function polled<T>(ask: () => Promise<T>, onTrouble: (error: FreshetError) => void): Promise<Polled<T>> {
  return Polled.start({ ask, everyMs: askEveryMs, onTrouble })
}

function gatewayPorts(parts: GatewayRoleParts): Omit<GatewayPorts, 'generations'> {
  const { ports, models, images, control, replicas, catalog } = parts
  const { log, codecs, partitions } = ports
  return {
    log: {
      append: (topic, records) => (topic === catalogTopic ? catalog.append(records) : log.append(topic, records)),
      // Metrics alone ask for them, and shall be told also while the log is away.
      offsets: async () => parts.catalogEnds.value ?? new Map(),
    },
    catalogCodec: codecs.catalog,
    engagementCodec: codecs.engagement,
    features: parts.features,
    partitions,
    topicEpoch: catalog.topicEpoch,
    routing: () => routedGenerations(control.state),
    replicas: () => replicas.replicas(),
    modelOf: generation => models.modelOf(generation),
    fetchImage: images.fetchImage,
    blobs: images.blobs,
    deadLetters: parts.deadLetters,
    pipeline: async () => pipelineStatus(parts),
    recentItems: () => parts.recent.value?.items ?? [],
    backup: () => Promise.reject(noBackup()),
    snapshot: request => snapshotRemotely(replicas.replicas(), request),
    ready: () => models.isWhole,
    clock,
    newId: randomUUID,
  }
}

/** Of the catalog that the generations were built from; of the one there is now, while there are none or they do not say. */
function epochOf({ state }: ControlFollower, { topicEpoch }: LogPorts): TopicEpoch {
  const routed = [...state.generations.values()].filter(({ share }) => share > 0)
  return routed.find(({ started }) => started.topicEpoch !== null)?.started.topicEpoch ?? topicEpoch
}

function noBackup(): FreshetError {
  return new FreshetError(
    'bad-request',
    'a backup is of one machine; here the topics are the data, and Kafka keeps them',
  )
}

const nothingKnown: QueueDepth = { waiting: { live: 0, standby: 0, backfill: 0 }, delayed: 0, claimed: 0 }

/** Of queue and dead letters what was heard last; that they are away is among the alarms. */
function pipelineStatus({ models, alarms, depth, openLetters, recent }: GatewayRoleParts): PipelineStatus {
  return {
    rates: { searchable: recent.value?.perSecond ?? 0 },
    queue: depth.value ?? nothingKnown,
    processes: models.processes(),
    alarms: alarms.list(),
    deadLetters: openLetters.value ?? 0,
  }
}
