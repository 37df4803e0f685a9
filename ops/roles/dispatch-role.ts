import { randomUUID } from 'node:crypto'
import { gauge, labels } from '../../query-gateway/prometheus-text.ts'
import type { FreshetError } from '../../schemas/errors.ts'
import { asShardId, type ReplicaId } from '../../schemas/ids.ts'
import { type BeatingReplica, HeartbeatWriter } from '../../shard-node/http/heartbeat-writer.ts'
import { ControlLog } from '../../topologies/control/control-log.ts'
import type { GenerationStatus } from '../../topologies/control/control-state.ts'
import type { DispatchRunner, DispatchStatus } from '../../topologies/dispatch/runner.ts'
import { Alarms } from '../alarms.ts'
import { openDistributedLog, openDistributedWork, requireTopics } from '../distributed-storage.ts'
import { FailureNote } from '../failure-note.ts'
import { startFirstGeneration } from '../first-generation.ts'
import { modelIdentity } from '../image-roles.ts'
import { advertisedOrigin, listenOn } from '../listen.ts'
import { newDispatch } from '../pipeline-parts.ts'
import type { LogPorts } from '../storage.ts'
import { mutationTopicSpec } from '../topic-set-up.ts'
import { ControlFollower } from './control-follower.ts'
import { GenerationParts } from './generation-parts.ts'
import { redriveRoutes } from './redrive-routes.ts'
import { clock, type RoleContext } from './role.ts'
import { openFreeDirectory, openLocalStores } from './role-directory.ts'
import { createRoleServer } from './role-server.ts'

/** `freshet dispatch`: a dispatcher for each generation, of the partitions that the generation's group gives to it. */
export async function startDispatchRole(context: RoleContext): Promise<string> {
  const { config, log, closers } = context
  const directory = await openFreeDirectory(config.dataDir, 'dispatch')
  closers.add(() => directory.close())
  const stores = await openLocalStores({ directory, clock, log, closers })
  const opening = { ...context, clientId: 'freshet-dispatch' }
  const [logPorts, workPorts] = [await openDistributedLog(config, opening), await openDistributedWork(config, opening)]
  const ports = { ...logPorts, ...workPorts, ...stores }
  await ensureGeneration(context, logPorts)

  const alarms = new Alarms(log, clock)
  const failures = new FailureNote(alarms)
  const dispatchers = new GenerationParts({
    open: async (status: GenerationStatus) => {
      const { generation } = status.started
      await requireTopics(ports.log, [mutationTopicSpec(config, generation)], log)
      const onFailure = failures.by(`dispatch ${generation}`)
      const runner = newDispatch({ config, ports, clock, partitions: 'group', onFailure }, status)
      await runner.start()
      log.info({ generation }, 'dispatching')
      return runner
    },
    close: runner => runner.stop(),
    onFailure: failures.by('dispatch'),
  })
  closers.add(() => dispatchers.close())
  const control = await ControlFollower.start({
    ports,
    onState: state => dispatchers.adopt(state),
    onTrouble: error => alarms.raise('control', error),
  })
  closers.add(() => control.close())
  if (failures.first !== null) throw failures.first

  const app = createRoleServer(
    {
      failure: () => failures.first,
      whyNotReady: () => whyNotReady(dispatchers.all(), ports.log.readerFailures()),
      metrics: async () => metricsText(dispatchers.all()),
    },
    log,
  )
  redriveRoutes(app, {
    runners: () => dispatchers.all(),
    codec: ports.codecs.deadLetters,
    secret: config.internalSecret,
  })
  closers.add(() => app.close())
  const url = await listenOn(app, config)
  const name = `dispatch-${randomUUID()}`
  const heartbeats = new HeartbeatWriter({
    log: ports.log,
    codec: ports.codecs.heartbeats,
    role: 'dispatch',
    replicas: () => dispatchers.all().map(runner => speaking(name, runner)),
    address: advertisedOrigin(config, url),
    clock,
    onTrouble: error => alarms.raise('heartbeats', error),
  })
  heartbeats.start()
  closers.add(() => heartbeats.stop())
  return url
}

/** A dispatcher in the words of heartbeats. */
function speaking(name: string, runner: DispatchRunner): BeatingReplica {
  const { generation, state: phase, partitions } = runner.status()
  const state = phase === 'running' ? 'ready' : 'refusing'
  const watermark = Object.fromEntries(partitions.map(each => [each.partition, each.watermark]))
  return {
    replica: `${name}-${generation}` as ReplicaId,
    partitions: partitions.map(({ partition }) => partition),
    state,
    status: async () => ({ shard: asShardId(0), generation, state, applied: {}, watermark, indexAgeMs: 0 }),
  }
}

/** Makes the first generation where none ever had a query. */
async function ensureGeneration({ config }: RoleContext, ports: LogPorts): Promise<void> {
  const control = new ControlLog({ log: ports.log, codec: ports.codecs.control })
  const { generations } = await control.refresh()
  if ([...generations.values()].some(({ share }) => share > 0)) return
  await startFirstGeneration({ config, ports, model: await modelIdentity(config), by: 'dispatch', clock })
}

function whyNotReady(runners: readonly DispatchRunner[], readers: readonly FreshetError[]): string | null {
  const [silent] = readers
  if (silent !== undefined) return silent.message
  if (runners.length === 0) return 'no generation is known yet'
  const statuses = runners.map(runner => runner.status())
  for (const { generation, state, error, partitions } of statuses) {
    if (state !== 'running') return `the dispatcher of ${generation} is ${state}`
    if (error !== null) return `the dispatcher of ${generation} waits: ${error.message}`
    const behind = partitions.filter(({ catchingUp }) => catchingUp).length
    if (behind > 0) return `the dispatcher of ${generation} catches up on ${behind} partitions`
  }
  return null
}

type PartitionStatus = DispatchStatus['partitions'][number]

function metricsText(runners: readonly DispatchRunner[]): string {
  const statuses = runners.map(runner => runner.status())
  const perPartition = (measure: (status: PartitionStatus) => number | null) =>
    statuses.flatMap(({ generation, partitions }) =>
      partitions.flatMap(status => {
        const value = measure(status)
        return value === null ? [] : [[labels({ generation, partition: String(status.partition) }), value] as const]
      }),
    )
  const perGeneration = (measure: (status: DispatchStatus) => number) =>
    statuses.map(status => [labels({ generation: status.generation }), measure(status)] as const)
  const counted = ['events', 'jobs', 'deadLetters', 'refused'] as const
  const lines = [
    ...gauge(
      'freshet_dispatch_lag_events',
      perPartition(({ lagRecords }) => lagRecords),
    ),
    ...gauge(
      'freshet_dispatch_watermark_offset',
      perPartition(({ watermark }) => watermark),
    ),
    ...gauge(
      'freshet_dispatch_pending_images',
      perPartition(({ pendingImages }) => pendingImages),
    ),
    ...gauge(
      'freshet_dispatch_oldest_pending_timestamp_seconds',
      perPartition(({ oldestPendingTimeMs }) => (oldestPendingTimeMs === null ? null : oldestPendingTimeMs / 1000)),
    ),
    ...gauge(
      'freshet_dispatch_partitions',
      perGeneration(({ partitions }) => partitions.length),
    ),
    ...gauge(
      'freshet_dispatch_paused',
      perGeneration(({ paused }) => (paused ? 1 : 0)),
    ),
    ...gauge(
      'freshet_dispatch_since_start',
      statuses.flatMap(({ generation, counts }) =>
        counted.map(of => [labels({ generation, of }), counts[of]] as const),
      ),
    ),
  ]
  return `${lines.join('\n')}\n`
}
