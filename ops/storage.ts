import { join } from 'node:path'
import type { Logger } from 'pino'
import { type Codecs, openCodecs, registerSchemas } from '../schemas/avro/codec.ts'
import { FreshetError } from '../schemas/errors.ts'
import type { Generation, TopicEpoch } from '../schemas/ids.ts'
import { catalogTopic } from '../schemas/topics.ts'
import { EmbeddedEventLog } from '../topologies/embedded/embedded-event-log.ts'
import { EmbeddedFeatureStore } from '../topologies/embedded/embedded-feature-store.ts'
import { openKeyValueStore } from '../topologies/embedded/embedded-key-value-store.ts'
import { EmbeddedSchemaRegistry } from '../topologies/embedded/embedded-schema-registry.ts'
import { EmbeddedWorkQueue } from '../topologies/embedded/embedded-work-queue.ts'
import { EmbeddedEnvironment } from '../topologies/embedded/environment.ts'
import type { EventLog } from '../topologies/event-log.ts'
import type { FeatureStore } from '../topologies/feature-store.ts'
import type { KeyValueStore } from '../topologies/key-value-store.ts'
import type { WorkQueue } from '../topologies/work-queue.ts'
import type { Config } from './config.ts'
import { ensureTopicEpoch } from './topic-epoch.ts'
import { mutationTopicSpec, topicSpecs } from './topic-set-up.ts'

/** The log with what every role needs to know about its topics. */
export interface LogPorts {
  readonly log: EventLog
  readonly codecs: Codecs
  readonly partitions: number
  readonly topicEpoch: TopicEpoch
}

/** What dispatchers and workers share besides the log. */
export interface WorkPorts {
  readonly queue: WorkQueue
  readonly features: FeatureStore
}

/** What a process keeps for itself. */
export interface LocalStores {
  keyValueStore(name: string): KeyValueStore
}

/** The ports of the one process that does everything on one machine. */
export interface Storage extends LogPorts, WorkPorts, LocalStores {
  /** Creates the mutation topic of a generation, or checks that it fits. */
  ensureMutationTopic(generation: Generation): Promise<void>
  /** A consistent copy of everything in it, while writes go on. */
  copyTo(directory: string): Promise<void>
  close(): Promise<void>
}

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
  const topicEpoch = await ensureTopicEpoch(eventLog, codecs.catalog)
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
