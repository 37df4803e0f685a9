import { rm } from 'node:fs/promises'
import { observeGauges } from '../../query-gateway/observed-gauges.ts'
import { replicaGauges } from '../../query-gateway/replica-metrics.ts'
import { replicaViews } from '../../query-gateway/system-status.ts'
import type { FreshetError } from '../../schemas/errors.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import { createShardServer } from '../../shard-node/http/shard-server.ts'
import type { ShardNode } from '../../shard-node/shard-node.ts'
import type { SearchableItem } from '../../shard-node/shard-node-options.ts'
import type { GenerationStatus } from '../../topologies/control/control-state.ts'
import { openDataDirectory } from '../../topologies/embedded/data-directory.ts'
import { Alarms } from '../alarms.ts'
import { checkInternalHost } from '../config-rules.ts'
import { openDistributedLog, requireTopics } from '../distributed-storage.ts'
import { listenOn } from '../listen.ts'
import { openShard, shardDirectory } from '../pipeline-parts.ts'
import type { LogPorts } from '../storage.ts'
import { mutationTopicSpec } from '../topic-set-up.ts'
import { GenerationParts } from './generation-parts.ts'
import { followGenerations, startHeartbeats } from './generation-role.ts'
import { Polled } from './polled.ts'
import { RecentByGeneration, recentRoutes } from './recent-routes.ts'
import { clock, type RoleContext } from './role.ts'
import { shardRoleDirectory } from './role-directory.ts'
import { shardGauges } from './shard-metrics.ts'

const endsEveryMs = 1_000

/** `freshet shard`: one replica of one shard, of each generation. */
export async function startShardRole(context: RoleContext): Promise<string> {
  const { config, log, closers } = context
  checkInternalHost(config)
  const { number, replica } = config.shard
  const directory = await openDataDirectory(shardRoleDirectory(config))
  closers.add(() => directory.close())
  const ports = await openDistributedLog(config, { ...context, clientId: `freshet-shard-${number}-${replica}` })

  const alarms = new Alarms(log, clock)
  const recent = new RecentByGeneration(clock)
  const parts = { ports, dataDir: directory.path, alarms, recent }
  const replicas = new GenerationParts<ShardNode>({
    open: (status, onFailure) => openReplica(status, context, { ...parts, onFailure }),
    close: node => node.close(),
    remove: status => removeReplica(status, context, parts),
    onFailure: (generation, error) => alarms.raise(`shard ${generation}-${number}`, error),
    clock: () => performance.now(),
  })
  closers.add(() => replicas.close())
  const url = await listen(context, parts, replicas)
  const role = { context, ...parts }
  await followGenerations(replicas, role)
  startHeartbeats(role, { url, replicas: () => replicas.all() })
  return url
}

interface ShardParts {
  readonly ports: LogPorts
  /** Of this process. */
  readonly dataDir: string
  readonly alarms: Alarms
  readonly recent: RecentByGeneration
}

/** Null for a generation that has no shard of this number. */
async function openReplica(
  status: GenerationStatus,
  { config, log, telemetry: { meter } }: RoleContext,
  { ports, dataDir, alarms, recent, onFailure }: ShardParts & { readonly onFailure: (error: FreshetError) => void },
): Promise<ShardNode | null> {
  const { number, replica } = config.shard
  const { generation, shards } = status.started
  if (number >= shards) {
    log.warn({ generation, shards, shard: number }, 'the generation has no such shard')
    return null
  }
  await requireTopics(ports.log, [mutationTopicSpec(config, generation)], log)
  const part = `shard ${generation}-${number}`
  const onAlarm = (error: FreshetError) => alarms.raise(part, error)
  const onSearchable = (items: readonly SearchableItem[]) => recent.add(generation, items)
  const reporting = { onFailure, onAlarm, onSearchable, meter }
  return openShard({ config, ports, dataDir, clock, number, replica, ...reporting }, status)
}

async function removeReplica(
  { started: { generation } }: GenerationStatus,
  { config, log }: RoleContext,
  { dataDir }: ShardParts,
): Promise<void> {
  await rm(shardDirectory(dataDir, generation, config.shard.number), { recursive: true, force: true })
  log.info({ generation }, 'retired generation is removed: its replica')
}

/** Listens from the start, so that probes are answered while a replica is opened. */
async function listen(
  { config, log, closers, telemetry }: RoleContext,
  { ports, alarms, recent }: ShardParts,
  parts: GenerationParts<ShardNode>,
): Promise<string> {
  // In the background: metrics are told also while the log is away.
  const catalogEnds = await Polled.start({
    ask: () => ports.log.offsets(catalogTopic),
    everyMs: endsEveryMs,
    onTrouble: error => alarms.raise('catalog', error),
  })
  closers.add(() => catalogEnds.close())
  observeGauges(telemetry.meter, [...replicaGauges, ...shardGauges], async () => {
    const nodes = parts.all()
    return { nodes, shards: await replicaViews(nodes), ends: catalogEnds.value ?? new Map() }
  })
  const app = createShardServer({
    replicas: () => parts.all(),
    failure: () => parts.failure,
    secret: config.internalSecret,
    snapshotRoots: config.shard.snapshotRoots,
    metrics: () => telemetry.metricsText(),
    meter: telemetry.meter,
    logger: log,
  })
  recentRoutes(app, { recent, secret: config.internalSecret })
  closers.add(() => app.close())
  return listenOn(app, config)
}
