import { randomUUID } from 'node:crypto'
import { observeGauges } from '../../query-gateway/observed-gauges.ts'
import { ReplicaDirectory } from '../../query-gateway/remote/replica-directory.ts'
import type { FreshetError } from '../../schemas/errors.ts'
import { asShardId, type ReplicaId } from '../../schemas/ids.ts'
import { mutationTopic } from '../../schemas/topics.ts'
import type { BeatingReplica } from '../../shard-node/http/heartbeat-writer.ts'
import { type GenerationStatus, initialControlState } from '../../topologies/control/control-state.ts'
import type { DispatchRunner, DispatchStatus } from '../../topologies/dispatch/runner.ts'
import type { KafkaEventLog } from '../../topologies/kafka/kafka-event-log.ts'
import { Alarms } from '../alarms.ts'
import { checkInternalHost } from '../config-rules.ts'
import { openDistributedLog, openDistributedWork, requireTopics, whenReachable } from '../distributed-storage.ts'
import { newEngagement } from '../engagement-part.ts'
import { ensureGeneration } from '../first-generation.ts'
import { modelIdentity } from '../image-roles.ts'
import { listenOn } from '../listen.ts'
import { dispatchTableName, newDispatch } from '../pipeline-parts.ts'
import { paceAtStart, RebuildThrottle, type RebuildThrottleOptions } from '../rebuild-throttle.ts'
import type { LocalStores, LogPorts, WorkPorts } from '../storage.ts'
import { mutationTopicSpec } from '../topic-set-up.ts'
import { dispatchAge, dispatchGauges } from './dispatch-metrics.ts'
import { GenerationParts } from './generation-parts.ts'
import { followGenerations, startHeartbeats } from './generation-role.ts'
import { redriveRoutes } from './redrive-routes.ts'
import { clock, type RoleContext } from './role.ts'
import { openFreeDirectory, openLocalStores } from './role-directory.ts'
import { createRoleServer } from './role-server.ts'

/** Shards and workers leave a retired generation within a second or so: then its topic goes. */
const removeAfterMs = 5_000

/** `freshet dispatch`: a dispatcher for each generation, of the partitions that the generation's group gives to it. */
export async function startDispatchRole(context: RoleContext): Promise<string> {
  const { config, log, closers } = context
  checkInternalHost(config)
  const directory = await openFreeDirectory(config.dataDir, 'dispatch')
  closers.add(() => directory.close())
  const stores = await openLocalStores({ directory, clock, log, closers })
  const opening = { ...context, clientId: 'freshet-dispatch' }
  const logPorts = await openDistributedLog(config, opening)
  const ports = { ...logPorts, ...(await openDistributedWork(config, opening)), ...stores }
  const first = { config, ports, model: () => modelIdentity(config), by: 'dispatch', clock }
  await whenReachable('Kafka', config, context, () => ensureGeneration(first))

  const alarms = new Alarms(log, clock)
  const dispatchers = new GenerationParts<DispatchRunner>({
    open: (status, onFailure) => startDispatcher(status, { context, ports, onFailure }),
    close: runner => runner.stop(),
    remove: status => removeDispatched(status, { context, ports }),
    removeAfterMs,
    onFailure: (generation, error) => alarms.raise(`dispatch ${generation}`, error),
    clock: () => performance.now(),
  })
  closers.add(() => dispatchers.close())
  const followed = { state: initialControlState }
  const throttle = await newThrottle(context, { ports, alarms, dispatchers, state: () => followed.state })
  await followGenerations(dispatchers, { context, ports, alarms }, state => {
    followed.state = state
    throttle.apply()
  })
  await throttle.start()
  closers.add(() => throttle.close())
  const onTrouble = (error: FreshetError) => alarms.raise('engagement', error)
  const engagement = newEngagement({ ports, partitions: 'group', onTrouble, meter: context.telemetry.meter })
  engagement.start()
  closers.add(() => engagement.stop())
  return listen(context, { ports, dispatchers, alarms })
}

type DispatchPorts = LogPorts & WorkPorts & LocalStores & { readonly log: KafkaEventLog }

interface DispatcherSurroundings {
  readonly context: RoleContext
  readonly ports: DispatchPorts
}

async function startDispatcher(
  status: GenerationStatus,
  {
    context: { config, log },
    ports,
    onFailure,
  }: DispatcherSurroundings & { readonly onFailure: (error: FreshetError) => void },
): Promise<DispatchRunner> {
  const { generation } = status.started
  await requireTopics(ports.log, [mutationTopicSpec(config, generation)], log)
  const runner = newDispatch({ config, ports, clock, partitions: 'group', onFailure }, status)
  runner.setPace(paceAtStart(status))
  await runner.start()
  log.info({ generation }, 'dispatching')
  return runner
}

/** Paces rebuilds by what replicas anywhere say of their load; not started. */
async function newThrottle(
  { config, closers }: RoleContext,
  { ports, alarms, dispatchers, state }: DispatchParts & Pick<RebuildThrottleOptions, 'state'>,
): Promise<RebuildThrottle> {
  const replicas = await ReplicaDirectory.follow({
    log: ports.log,
    codec: ports.codecs.heartbeats,
    settings: { secret: config.internalSecret },
    onAlarm: error => alarms.raise('replicas', error),
  })
  closers.add(() => replicas.close())
  return new RebuildThrottle({
    state,
    dispatchers: () => dispatchers.all(),
    replicas: () => replicas.replicas(),
    onTrouble: error => alarms.raise('pace of rebuilds', error),
    clock: () => performance.now(),
  })
}

/** Each dispatcher drops its own table; the topic is dropped by whoever comes first. */
async function removeDispatched(
  { started: { generation } }: GenerationStatus,
  { context: { log }, ports }: DispatcherSurroundings,
): Promise<void> {
  await ports.keyValueStore(dispatchTableName(generation)).clear()
  await ports.log.deleteTopic(mutationTopic(generation))
  log.info({ generation }, 'retired generation is removed: its item table and mutations')
}

interface DispatchParts {
  readonly ports: DispatchPorts
  readonly dispatchers: GenerationParts<DispatchRunner>
  readonly alarms: Alarms
}

/** Probes, metrics and redrive, and heartbeats that say where. */
async function listen(context: RoleContext, parts: DispatchParts): Promise<string> {
  const { config, log, closers, telemetry } = context
  const { ports, dispatchers, alarms } = parts
  const runners = () => dispatchers.all()
  const statuses = () => runners().map(runner => runner.status())
  observeGauges(telemetry.meter, [...dispatchGauges, dispatchAge(clock)], statuses)
  const app = createRoleServer(
    {
      failure: () => dispatchers.failure,
      whyNotReady: () => whyNotReady(statuses(), [...ports.log.readerFailures(), ...ports.log.groupAbsences()]),
      metrics: () => telemetry.metricsText(),
      meter: telemetry.meter,
    },
    log,
  )
  redriveRoutes(app, { runners, codec: ports.codecs.deadLetters, secret: config.internalSecret })
  closers.add(() => app.close())
  const url = await listenOn(app, config)
  const name = `dispatch-${randomUUID()}`
  const replicas = () => statuses().map(status => speaking(name, status))
  startHeartbeats({ context, ports, alarms }, { url, role: 'dispatch', replicas })
  return url
}

/** A dispatcher in the words of heartbeats. */
function speaking(name: string, { generation, state: phase, partitions }: DispatchStatus): BeatingReplica {
  const state = phase === 'running' ? 'ready' : 'refusing'
  const watermark = Object.fromEntries(partitions.map(each => [each.partition, each.watermark]))
  return {
    replica: `${name}-${generation}` as ReplicaId,
    partitions: partitions.map(({ partition }) => partition),
    state,
    status: async () => ({ shard: asShardId(0), generation, state, applied: {}, watermark, indexAgeMs: 0 }),
  }
}

function whyNotReady(statuses: readonly DispatchStatus[], readers: readonly FreshetError[]): string | null {
  const [silent] = readers
  if (silent !== undefined) return silent.message
  if (statuses.length === 0) return 'no generation is known yet'
  for (const { generation, state, error, partitions } of statuses) {
    if (state !== 'running') return `the dispatcher of ${generation} is ${state}`
    if (error !== null) return `the dispatcher of ${generation} waits: ${error.message}`
    const behind = partitions.filter(({ catchingUp }) => catchingUp).length
    if (behind > 0) return `the dispatcher of ${generation} catches up on ${behind} partitions`
  }
  return null
}
