import { rm } from 'node:fs/promises'
import { setTimeout as delay } from 'node:timers/promises'
import type { Offset, Partition } from '../../../schemas/ids.ts'
import { catalogTopic, mutationTopic } from '../../../schemas/topics.ts'
import type { EventLog } from '../../../topologies/event-log.ts'
import { type FaultInstallation, generation } from './fault-installation.ts'
import { KafkaOperator } from './kafka-operator.ts'
import { compacting, tombstoneRetentionMs } from './plans.ts'
import type { FaultContext, Scenario, ScenarioOutcome } from './scenario.ts'
import { until } from './until.ts'

export const logFaults: readonly Scenario[] = [
  { name: 'log-compaction', plan: compacting, run: rebuildFromCompacted },
  { name: 'replica-beyond-retention', plan: compacting, run: returnTooLate },
  { name: 'checkpoint-below-log-start', plan: compacting, run: cutLog },
]

const mutations = mutationTopic(generation)
const lost = 'shard-b'
const lostDirectory = 'shard-0-b'

/** A replica, and the item tables of all dispatchers, made anew from what compaction has left. */
async function rebuildFromCompacted(context: FaultContext): Promise<ScenarioOutcome> {
  const { installation, load, recovered, note } = context
  const { fleet, log } = installation
  await load.flowing(3_000)
  let left = { catalog: 1, mutations: 1 }
  await until('log compaction has taken half of both topics', async () => {
    left = { catalog: await leftOf(log, catalogTopic), mutations: await leftOf(log, mutations) }
    return left.catalog < 0.5 && left.mutations < 0.5
  })
  note(`left of the catalog ${percent(left.catalog)}, of the mutations ${percent(left.mutations)}`)
  const dispatchers = fleet.names('dispatch')
  await Promise.all([lost, ...dispatchers].map(name => fleet.kill(name)))
  const directories = [lostDirectory, 'dispatch', 'dispatch-2']
  await Promise.all(directories.map(name => rm(installation.roleDirectory(name), { recursive: true })))
  await fleet.startAll()
  const recoveryMs = await recovered()
  await load.flowing(100)
  const what = `${percent(1 - left.catalog)} of the catalog and ${percent(1 - left.mutations)} of the mutations`
  return { done: `${what} compacted away; replica b and the item tables made anew from the rest`, recoveryMs }
}

async function returnTooLate(context: FaultContext): Promise<ScenarioOutcome> {
  const { installation, load, recovered } = context
  const { fleet } = installation
  await load.flowing(500)
  await untilCheckpointed(installation)
  await fleet.kill(lost)
  await delay(tombstoneRetentionMs + 5_000)
  await load.flowing(500)
  await fleet.start(lost)
  requireRefusal(context)
  const recoveryMs = await recovered()
  return {
    done: `replica b was off for ${(tombstoneRetentionMs + 5_000) / 1000} s, removals are kept for ${tombstoneRetentionMs / 1000} s`,
    recoveryMs,
  }
}

/**
 * Every item is published anew while replica b is off, so that all that lies below is beaten, and the log is cut
 * there: above b's checkpoint.
 */
async function cutLog(context: FaultContext): Promise<ScenarioOutcome> {
  const { installation, load, oracle, recovered } = context
  const { fleet, log, servers } = installation
  await load.flowing(300)
  await untilCheckpointed(installation)
  await fleet.kill(lost)
  await load.flowing(100)
  await load.stop()
  await recovered()
  await oracle.check()
  const starts = new Map([...(await log.offsets(mutations))].map(([partition, { end }]) => [partition, end] as const))
  await load.renewAll([...oracle.items.values()])
  await recovered()
  await cutBelow(log, new KafkaOperator(servers.kafka.brokers), starts)
  await fleet.start(lost)
  requireRefusal(context)
  const recoveryMs = await recovered()
  return { done: 'every item published anew while replica b was off, and the log cut below that', recoveryMs }
}

/** Records of a topic that is only compacted cannot be deleted, so for a moment it is not. */
async function cutBelow(log: EventLog, operator: KafkaOperator, starts: ReadonlyMap<Partition, Offset>): Promise<void> {
  const spec = await log.topicSpec(mutations)
  if (spec === null) throw new Error(`there is no ${mutations}`)
  await log.ensureTopic({ ...spec, retentionMs: 7 * 24 * 3_600_000 })
  await operator.deleteRecordsBelow(mutations, starts)
  await log.ensureTopic(spec)
  await until('the log begins there', async () => {
    const offsets = await log.offsets(mutations)
    return [...starts].every(([partition, start]) => offsets.get(partition)!.start >= start)
  })
}

async function untilCheckpointed(installation: FaultInstallation): Promise<void> {
  const replica = installation.replicas().get(lost)!
  const before = (await replica.status()).checkpoint.writtenAtMs ?? 0
  await until('replica b writes a checkpoint', async () => {
    const { writtenAtMs } = (await replica.status()).checkpoint
    return writtenAtMs !== null && writtenAtMs > before
  })
}

/** A replica that starts on a checkpoint it cannot go on from says so, and makes itself anew. */
function requireRefusal({ installation, problem }: FaultContext): void {
  const said = installation.fleet.process(lost).output()
  if (!said.includes('checkpoint-too-old')) problem(`replica b did not say that its checkpoint is too old:\n${said}`)
}

/** Records that are left, by those there ever were. */
async function leftOf(log: EventLog, topic: string): Promise<number> {
  const offsets = await log.offsets(topic)
  const ends = new Map([...offsets].map(([partition, { end }]) => [partition, end] as const))
  const reader = await log.openReader({ topic, partitions: [...ends.keys()], from: new Map() })
  let records = 0
  try {
    while ([...ends].some(([partition, end]) => reader.position(partition) < end))
      records += (await reader.poll(5_000, 200)).length
  } finally {
    await reader.close()
  }
  return records / [...ends.values()].reduce<number>((sum, end) => sum + end, 0)
}

const percent = (share: number): string => `${Math.round(share * 100)}%`
