import type { CatalogEvent } from '../schemas/catalog-event.ts'
import type { ControlRecord } from '../schemas/control.ts'
import type { Generation, TopicEpoch } from '../schemas/ids.ts'
import type { RecordCodec } from '../schemas/record-codec.ts'
import {
  catalogTopic,
  controlTopic,
  deadLetterTopic,
  engagementTopic,
  heartbeatTopic,
  mutationTopic,
} from '../schemas/topics.ts'
import { ControlLog } from '../topologies/control/control-log.ts'
import { initialControlState } from '../topologies/control/control-state.ts'
import type { EventLog, TopicSpec } from '../topologies/event-log.ts'
import type { Config } from './config.ts'
import { durationMs } from './config-kinds.ts'
import { ensureTopicEpoch } from './topic-epoch.ts'

/** The options that decide how topics are kept. */
export type TopicConfig = Pick<Config, 'partitions'> & {
  readonly log: Pick<Config['log'], 'compactionLagMs'>
  readonly dispatch: Pick<Config['dispatch'], 'tombstoneRetentionMs'>
}

export interface TopicDifference {
  readonly setting: ComparedSetting
  readonly wanted: string
  readonly present: string
  /** Durations, and whose clock counts, are set by `apply`; what decides where records lie is for a person. */
  readonly settledBy: 'apply' | 'person'
  readonly whatToDo: string
}

export interface TopicFinding {
  readonly topic: string
  readonly state: 'missing' | 'fits' | 'differs'
  /** Empty unless it differs. */
  readonly differences: readonly TopicDifference[]
}

export interface AppliedTopic extends Omit<TopicFinding, 'state'> {
  /** `changed` has the differences there were; `differs` those that are left to a person. */
  readonly state: 'created' | 'changed' | 'fits' | 'differs'
}

export interface AppliedTopics {
  readonly topics: readonly AppliedTopic[]
  /** Of the catalog topic; null while that differs. */
  readonly topicEpoch: TopicEpoch | null
}

/** Started by the first roles that find none. */
export const firstGeneration = 'g1' as Generation

const hourMs = 3_600_000
const engagementRetentionMs = 7 * 24 * hourMs
const heartbeatRetentionMs = hourMs

/** Topics of every installation; those of mutations come with their generations. */
export function topicSpecs({ partitions, log, dispatch }: TopicConfig): readonly TopicSpec[] {
  const kept = { compacted: false, retentionMs: null, minCompactionLagMs: 0, tombstoneRetentionMs: 0 }
  return [
    {
      name: catalogTopic,
      partitions,
      compacted: true,
      retentionMs: null,
      minCompactionLagMs: log.compactionLagMs,
      tombstoneRetentionMs: dispatch.tombstoneRetentionMs,
    },
    { ...kept, name: controlTopic, partitions: 1 },
    { ...kept, name: deadLetterTopic, partitions },
    { ...kept, name: engagementTopic, partitions, retentionMs: engagementRetentionMs },
    { ...kept, name: heartbeatTopic, partitions: 1, retentionMs: heartbeatRetentionMs },
  ]
}

/** Nulls in a mutation topic collect beaten records and tell a reader nothing, so they need not outlive them. */
export function mutationTopicSpec({ partitions, log }: TopicConfig, generation: Generation): TopicSpec {
  return {
    name: mutationTopic(generation),
    partitions,
    compacted: true,
    retentionMs: null,
    minCompactionLagMs: log.compactionLagMs,
    tombstoneRetentionMs: 0,
  }
}

/** All topics there should be: those of every installation and, for each generation, its mutations. */
export async function wantedTopics(
  config: TopicConfig,
  log: EventLog,
  codec: RecordCodec<ControlRecord>,
): Promise<readonly TopicSpec[]> {
  const generations = await liveGenerations(log, codec)
  return [...topicSpecs(config), ...generations.map(generation => mutationTopicSpec(config, generation))]
}

/** Those started and not retired; where there was none yet the first, which starts by itself. */
async function liveGenerations(log: EventLog, codec: RecordCodec<ControlRecord>): Promise<readonly Generation[]> {
  const isControlThere = (await log.topicSpec(controlTopic)) !== null
  const { generations } = isControlThere ? await new ControlLog({ log, codec }).refresh() : initialControlState
  if (generations.size === 0) return [firstGeneration]
  return [...generations].filter(([, { state }]) => state !== 'retired').map(([generation]) => generation)
}

/** Holds each wanted topic against what the log has. Changes nothing. */
export async function checkTopics(log: EventLog, wanted: readonly TopicSpec[]): Promise<readonly TopicFinding[]> {
  return Promise.all(wanted.map(async spec => compareTopic(spec, await log.topicSpec(spec.name))))
}

/**
 * Creates what is missing and sets durations that differ; a repetition does nothing. A topic that needs a person is
 * left as it is. A catalog that fits gets its epoch markers where it is empty.
 * @throws FreshetError `topic-epoch` when the catalog begins with something else; errors of the log
 */
export async function applyTopics(
  log: EventLog,
  wanted: readonly TopicSpec[],
  codec: RecordCodec<CatalogEvent>,
): Promise<AppliedTopics> {
  const topics: AppliedTopic[] = []
  for (const spec of wanted) topics.push(await applyTopic(log, spec))
  const catalog = topics.find(({ topic }) => topic === catalogTopic)
  const isCatalogReady = catalog !== undefined && catalog.state !== 'differs'
  return { topics, topicEpoch: isCatalogReady ? await ensureTopicEpoch(log, codec) : null }
}

const appliedStates = { missing: 'created', fits: 'fits', differs: 'changed' } as const

async function applyTopic(log: EventLog, spec: TopicSpec): Promise<AppliedTopic> {
  const { topic, state, differences } = compareTopic(spec, await log.topicSpec(spec.name))
  if (differences.some(({ settledBy }) => settledBy === 'person')) return { topic, state: 'differs', differences }
  // Also where all fits: the log sees to settings that are its own, such as the room for the largest record.
  await log.ensureTopic(spec)
  return { topic, state: appliedStates[state], differences }
}

/** Settings without effect are not compared: those of log compaction on a topic that has none. */
export function compareTopic(wanted: TopicSpec, present: TopicSpec | null): TopicFinding {
  const topic = wanted.name
  if (present === null) return { topic, state: 'missing', differences: [] }
  const areBothCompacted = wanted.compacted && present.compacted
  const settings: readonly ComparedSetting[] = areBothCompacted
    ? ['partitions', 'retentionMs', 'minCompactionLagMs', 'tombstoneRetentionMs', 'producerTimes']
    : ['partitions', 'compacted', 'retentionMs', 'producerTimes']
  const differences = settings
    .filter(setting => wanted[setting] !== present[setting])
    .map(setting => ({
      setting,
      wanted: shown(setting, wanted),
      present: shown(setting, present),
      ...adviceOn(setting, wanted, present),
    }))
  return { topic, state: differences.length === 0 ? 'fits' : 'differs', differences }
}

type ComparedSetting = Exclude<keyof TopicSpec, 'name'>

function adviceOn(
  setting: ComparedSetting,
  wanted: TopicSpec,
  present: TopicSpec,
): Pick<TopicDifference, 'settledBy' | 'whatToDo'> {
  switch (setting) {
    case 'partitions':
      return { settledBy: 'person', whatToDo: partitionAdvice(wanted, present) }
    case 'compacted':
      return { settledBy: 'person', whatToDo: compactionAdvice(wanted) }
    case 'retentionMs':
    case 'minCompactionLagMs':
    case 'tombstoneRetentionMs':
    case 'producerTimes':
      return { settledBy: 'apply', whatToDo: '`freshet topics apply` sets it, where nothing else is left to a person.' }
  }
}

/** An item's partition follows from their number, so that it can not be changed while the topic lives. */
function partitionAdvice(wanted: TopicSpec, present: TopicSpec): string {
  if (wanted.partitions === 1)
    return 'Its records have one order, so it has one partition. Delete it, if nothing is in it, and apply again.'
  return (
    `Partitions are fixed for the life of the topics. Set partitions to ${present.partitions}; or delete all topics, ` +
    'apply again, and publish the whole catalogue anew.'
  )
}

function compactionAdvice({ name, compacted }: TopicSpec): string {
  const [lost, policy] = compacted ? ['deleted by age', 'compact'] : ['compacted away', 'delete']
  return (
    `Records may have been ${lost} already; then delete the topic and apply again. Else: kafka-configs.sh --alter ` +
    `--entity-type topics --entity-name ${name} --add-config cleanup.policy=${policy}`
  )
}

function shown(setting: ComparedSetting, spec: TopicSpec): string {
  if (setting === 'producerTimes') return spec.producerTimes ? "the producers' clocks" : "the broker's clock"
  const value = spec[setting]
  if (value === null) return 'for ever'
  return typeof value === 'number' && setting !== 'partitions' ? durationMs(0).show(value) : String(value)
}
