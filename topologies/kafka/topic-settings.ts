import kafkajs, { type DescribeConfigResponse, type IResourceConfigEntry } from 'kafkajs'
import type { TopicSpec } from '../event-log.ts'

type Settings = ReadonlyMap<string, string>

/** A batch holds one record at least, and some bytes more than it. */
const batchOverheadBytes = 2 ** 16
const forEver = '-1'
/** The broker's clock is the event time; a producer's is not trusted. */
const brokerTimes = 'LogAppendTime'

/** How Kafka is told to keep a topic as the spec says. */
export function settingsOf(spec: TopicSpec, maxRecordBytes: number): Settings {
  const { compacted, retentionMs, minCompactionLagMs, tombstoneRetentionMs } = spec
  const policies = [...(compacted ? ['compact'] : []), ...(compacted && retentionMs === null ? [] : ['delete'])]
  return new Map([
    ['cleanup.policy', policies.join(',')],
    ['retention.ms', retentionMs === null ? forEver : `${retentionMs}`],
    ['retention.bytes', forEver],
    ['min.compaction.lag.ms', `${minCompactionLagMs}`],
    ['delete.retention.ms', `${tombstoneRetentionMs}`],
    ['max.message.bytes', `${maxRecordBytes + batchOverheadBytes}`],
    ['message.timestamp.type', brokerTimes],
  ])
}

export function specOf(name: string, partitions: number, settings: Settings): TopicSpec {
  const policies = (settings.get('cleanup.policy') ?? 'delete').split(',')
  const retentionMs = Number(settings.get('retention.ms') ?? forEver)
  return {
    name,
    partitions,
    compacted: policies.includes('compact'),
    retentionMs: policies.includes('delete') && retentionMs >= 0 ? retentionMs : null,
    minCompactionLagMs: Number(settings.get('min.compaction.lag.ms') ?? 0),
    tombstoneRetentionMs: Number(settings.get('delete.retention.ms') ?? 0),
    ...(settings.get('message.timestamp.type') === brokerTimes ? {} : { producerTimes: true }),
  }
}

export interface TopicSettings {
  /** Of the topic and, where it has none, of the broker. */
  readonly effective: Settings
  /** Those of the topic alone. */
  readonly own: Settings
}

export function describedSettings({ resources }: DescribeConfigResponse): TopicSettings {
  const entries = resources.flatMap(({ configEntries }) => configEntries)
  const own = entries.filter(({ configSource }) => configSource === kafkajs.ConfigSource.TOPIC_CONFIG)
  const mapOf = (some: typeof entries): Settings => new Map(some.map(each => [each.configName, each.configValue]))
  return { effective: mapOf(entries), own: mapOf(own) }
}

/** Setting one replaces all of a topic's own settings (kafkajs knows no other way), so the others are given again. */
export function replacedSettings({ own, effective }: TopicSettings, wanted: Settings): Settings | null {
  const differs = [...wanted].some(([name, value]) => effective.get(name) !== value)
  return differs ? new Map([...own, ...wanted]) : null
}

export function entriesOf(settings: Settings): IResourceConfigEntry[] {
  return [...settings].map(([name, value]) => ({ name, value }))
}
