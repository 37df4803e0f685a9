import { randomBytes } from 'node:crypto'
import { join } from 'node:path'
import type { Logger } from 'pino'
import { type Codecs, openCodecs, registerSchemas } from '../schemas/avro/codec.ts'
import { topicEpochKey } from '../schemas/catalog-event.ts'
import { FreshetError } from '../schemas/errors.ts'
import { asPartition, type Generation, type TopicEpoch } from '../schemas/ids.ts'
import { catalogTopic, controlTopic, deadLetterTopic, engagementTopic, mutationTopic } from '../schemas/topics.ts'
import { EmbeddedEventLog } from '../topologies/embedded/embedded-event-log.ts'
import { EmbeddedFeatureStore } from '../topologies/embedded/embedded-feature-store.ts'
import { openKeyValueStore } from '../topologies/embedded/embedded-key-value-store.ts'
import { EmbeddedSchemaRegistry } from '../topologies/embedded/embedded-schema-registry.ts'
import { EmbeddedWorkQueue } from '../topologies/embedded/embedded-work-queue.ts'
import { EmbeddedEnvironment } from '../topologies/embedded/environment.ts'
import type { EventLog, TopicSpec } from '../topologies/event-log.ts'
import type { FeatureStore } from '../topologies/feature-store.ts'
import type { KeyValueStore } from '../topologies/key-value-store.ts'
import type { WorkQueue } from '../topologies/work-queue.ts'
import type { Config } from './config.ts'

/** The ports of one process with what every role needs to know about the topics. */
export interface Storage {
  readonly log: EventLog
  readonly queue: WorkQueue
  readonly features: FeatureStore
  readonly codecs: Codecs
  readonly partitions: number
  readonly topicEpoch: TopicEpoch
  keyValueStore(name: string): KeyValueStore
  /** Creates the mutation topic of a generation, or checks that it fits. */
  ensureMutationTopic(generation: Generation): Promise<void>
  /** A consistent copy of everything in it, while writes go on. */
  copyTo(directory: string): Promise<void>
  close(): Promise<void>
}

const engagementRetentionMs = 7 * 24 * 3_600_000

/** Where the log of a data directory lies. */
export const logDirectory = (dataDir: string): string => join(dataDir, 'log')

/**
 * The embedded form: one LMDB environment behind all ports. The data directory must be locked by this process.
 * @throws FreshetError `topic-mismatch` when the partitions differ from those of the data directory; storage codes
 */
export async function openStorage(config: Config, log: Logger, clock: () => number): Promise<Storage> {
  const environment = await EmbeddedEnvironment.open({ directory: logDirectory(config.dataDir), clock, log })
  try {
    return await openPorts(environment, config)
  } catch (thrown) {
    await environment.close()
    throw thrown
  }
}

async function openPorts(environment: EmbeddedEnvironment, config: Config): Promise<Storage> {
  const eventLog = new EmbeddedEventLog(environment)
  const queue = new EmbeddedWorkQueue(environment)
  const features = new EmbeddedFeatureStore(environment)
  const registry = new EmbeddedSchemaRegistry(openKeyValueStore(environment, 'schemas'))
  await registerSchemas(registry)
  const codecs = await openCodecs(registry)
  await checkPartitions(eventLog, config)
  for (const spec of topicSpecs(config)) await eventLog.ensureTopic(spec)
  const topicEpoch = await ensureTopicEpoch(eventLog, codecs)
  return {
    log: eventLog,
    queue,
    features,
    codecs,
    partitions: config.partitions,
    topicEpoch,
    keyValueStore: name => openKeyValueStore(environment, name),
    ensureMutationTopic: generation => eventLog.ensureTopic(mutationTopicSpec(config, generation)),
    copyTo: directory => environment.copyTo(directory),
    close: async () => {
      await eventLog.close()
      await queue.close()
      await environment.close()
    },
  }
}

/** Said here in the words of the configuration; `ensureTopic` would refuse it too. */
async function checkPartitions(log: EventLog, { partitions, dataDir }: Config): Promise<void> {
  const there = await log.partitionCount(catalogTopic).catch(thrown => {
    if (thrown instanceof FreshetError && thrown.code === 'topic-missing') return partitions
    throw thrown
  })
  if (there !== partitions)
    throw new FreshetError(
      'topic-mismatch',
      `${dataDir} was made with ${there} partitions, which is for life: set partitions to ${there}, not ${partitions}`,
    )
}

function topicSpecs({ partitions, log, dispatch }: Config): readonly TopicSpec[] {
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
  ]
}

/** Nulls in a mutation topic collect beaten records and tell a reader nothing, so they need not outlive them. */
function mutationTopicSpec({ partitions, log }: Config, generation: Generation): TopicSpec {
  return {
    name: mutationTopic(generation),
    partitions,
    compacted: true,
    retentionMs: null,
    minCompactionLagMs: log.compactionLagMs,
    tombstoneRetentionMs: 0,
  }
}

/**
 * The epoch of the catalog topic: that of the marker in its first partition. Partitions without a record get theirs,
 * so that a first start which was cut short goes on where it ended.
 * @throws FreshetError `topic-epoch` when a partition begins with something else
 */
async function ensureTopicEpoch(log: EventLog, codecs: Codecs): Promise<TopicEpoch> {
  const found = await firstEpochs(log, codecs)
  const known = new Set(found.values())
  if (known.size > 1 || known.has(null))
    throw new FreshetError('topic-epoch', 'the partitions of the catalog do not begin with one epoch marker')
  const epoch = [...known][0] ?? (randomBytes(8).toString('hex') as TopicEpoch)
  const marker = codecs.catalog.encode({ type: 'TopicEpoch', epoch })
  const count = await log.partitionCount(catalogTopic)
  const missing = Array.from({ length: count }, (_, i) => asPartition(i)).filter(partition => !found.has(partition))
  const key = Buffer.from(topicEpochKey)
  await log.append(
    catalogTopic,
    missing.map(partition => ({ partition, key, value: marker })),
  )
  return epoch
}

/** Per partition that has records: the epoch its first record names, null when that is no marker. */
async function firstEpochs(log: EventLog, codecs: Codecs): Promise<ReadonlyMap<number, TopicEpoch | null>> {
  const offsets = await log.offsets(catalogTopic)
  const filled = [...offsets].filter(([, { start, end }]) => end > start).map(([partition]) => partition)
  const epochs = new Map<number, TopicEpoch | null>()
  for (const partition of filled) {
    const reader = await log.openReader({ topic: catalogTopic, partitions: [partition], from: new Map() })
    const [first] = await reader.poll(1, 1_000)
    await reader.close()
    if (first?.value) await codecs.catalog.learn(first.value)
    const event = first?.value ? codecs.catalog.decode(first.value) : null
    epochs.set(partition, event?.type === 'TopicEpoch' ? event.epoch : null)
  }
  return epochs
}
