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
import { FailureNote } from '../failure-note.ts'
import { listenOn } from '../listen.ts'
import { openShard } from '../pipeline-parts.ts'
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
  const failures = new FailureNote(alarms)
  const recent = new RecentByGeneration(clock)
  const parts = { ports, dataDir: directory.path, alarms, failures, recent }
  const replicas = new GenerationParts({
    open: status => openReplica(status, context, parts),
    close: node => node.close(),
    onFailure: failures.by(`shard ${number}`),
  })
  closers.add(() => replicas.close())
  const url = await listen(context, parts, () => replicas.all())
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
  readonly failures: FailureNote
  readonly recent: RecentByGeneration
}

/** Null for a generation that has no shard of this number. */
async function openReplica(
  status: GenerationStatus,
  { config, log, telemetry: { meter } }: RoleContext,
  { ports, dataDir, alarms, failures, recent }: ShardParts,
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
  const onFailure = failures.by(part)
  const onSearchable = (items: readonly SearchableItem[]) => recent.add(generation, items)
  const reporting = { onFailure, onAlarm, onSearchable, meter }
  return openShard({ config, ports, dataDir, clock, number, replica, ...reporting }, status)
}

/** Listens from the start, so that probes are answered while a replica is opened. */
async function listen(
  { config, log, closers, telemetry }: RoleContext,
  { ports, alarms, failures, recent }: ShardParts,
  replicas: () => readonly ShardNode[],
): Promise<string> {
  // In the background: metrics are told also while the log is away.
  const catalogEnds = await Polled.start({
    ask: () => ports.log.offsets(catalogTopic),
    everyMs: endsEveryMs,
    onTrouble: error => alarms.raise('catalog', error),
  })
  closers.add(() => catalogEnds.close())
  observeGauges(telemetry.meter, [...replicaGauges, ...shardGauges], async () => {
    const nodes = replicas()
    return { nodes, shards: await replicaViews(nodes), ends: catalogEnds.value ?? new Map() }
  })
  const app = createShardServer({
    replicas,
    failure: () => failures.first,
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
