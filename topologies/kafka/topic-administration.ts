import { setTimeout as sleep } from 'node:timers/promises'
import kafkajs, { type Admin, type DescribeConfigResponse } from 'kafkajs'
import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, asPartition, type Offset, type Partition } from '../../schemas/ids.ts'
import type { TopicSpec } from '../event-log.ts'
import type { AdminAccess } from './admin-access.ts'
import { brokerErrorOf } from './kafka-failures.ts'
import {
  describedSettings,
  entriesOf,
  replacedSettings,
  settingsOf,
  specOf,
  type TopicSettings,
} from './topic-settings.ts'

export interface Replication {
  readonly factor: number
  /** An append is acknowledged when so many replicas have it; with fewer alive it is refused. */
  readonly minInSync: number
}

interface OffsetRange {
  readonly start: Offset
  readonly end: Offset
}

/** The broker that is asked may not yet know of a topic that another one has just made. */
const missingAnswersToBelieve = 3
const askAgainAfterMs = 250

/** Topics, their settings, their offsets and what groups committed. */
export class TopicAdministration {
  readonly #admin: AdminAccess
  readonly #maxRecordBytes: number
  readonly #replication: Replication | undefined

  constructor(admin: AdminAccess, options: { maxRecordBytes: number; replication: Replication | undefined }) {
    this.#admin = admin
    this.#maxRecordBytes = options.maxRecordBytes
    this.#replication = options.replication
  }

  /** @throws FreshetError `topic-mismatch` */
  async ensureTopic(spec: TopicSpec): Promise<void> {
    if ((await this.#partitions(spec.name, 1)) === null && (await this.#create(spec))) return
    const existing = await this.#describe(spec.name)
    const { partitions, compacted } = specOf(spec.name, await this.partitionCount(spec.name), existing.effective)
    if (partitions !== spec.partitions || compacted !== spec.compacted)
      throw new FreshetError('topic-mismatch', `topic ${spec.name} exists with other settings`, {
        details: {
          existing: { partitions, compacted },
          required: { partitions: spec.partitions, compacted: spec.compacted },
        },
      })
    await this.#alter(spec, existing)
  }

  /** Resolves when brokers that are asked do not know it any more. */
  async deleteTopic(topic: string): Promise<void> {
    await this.#admin.use(`delete topic ${topic}`, async admin => {
      try {
        await admin.deleteTopics({ topics: [topic] })
      } catch (thrown) {
        if (brokerErrorOf(thrown) !== 'UNKNOWN_TOPIC_OR_PARTITION') throw thrown
      }
    })
    await this.#admin.use(`deletion of ${topic}`, async () => {
      if ((await this.#partitions(topic)) !== null)
        throw new FreshetError('log-unavailable', `the topic ${topic} is being deleted`)
    })
  }

  async topicSpec(topic: string): Promise<TopicSpec | null> {
    const partitions = await this.#partitions(topic)
    return partitions === null ? null : specOf(topic, partitions, (await this.#describe(topic)).effective)
  }

  /** @throws FreshetError `topic-missing` */
  async partitionCount(topic: string): Promise<number> {
    const partitions = await this.#partitions(topic)
    if (partitions === null) throw new FreshetError('topic-missing', `there is no topic ${topic}`)
    return partitions
  }

  /** @throws FreshetError `topic-missing` */
  async offsets(topic: string): Promise<ReadonlyMap<Partition, OffsetRange>> {
    await this.partitionCount(topic)
    const offsets = await this.#admin.use(`offsets of ${topic}`, admin => admin.fetchTopicOffsets(topic))
    return new Map(
      offsets
        .toSorted((a, b) => a.partition - b.partition)
        .map(({ partition, low, high }) => [
          asPartition(partition),
          { start: asOffset(Number(low)), end: asOffset(Number(high)) },
        ]),
    )
  }

  /** @throws FreshetError `topic-missing` */
  async committed(group: string, topic: string): Promise<ReadonlyMap<Partition, Offset>> {
    await this.partitionCount(topic)
    const answer = await this.#admin.use(`offsets of group ${group}`, admin =>
      admin.fetchOffsets({ groupId: group, topics: [topic] }),
    )
    const committed = answer.flatMap(({ partitions }) => partitions).filter(({ offset }) => Number(offset) >= 0)
    return new Map(committed.map(({ partition, offset }) => [asPartition(partition), asOffset(Number(offset))]))
  }

  /** null when there is no such topic. */
  async #partitions(topic: string, answersToBelieve = missingAnswersToBelieve): Promise<number | null> {
    for (let asked = 1; ; asked++) {
      try {
        return await this.#admin.use(`metadata of ${topic}`, async admin => {
          const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
          return topics[0]!.partitions.length
        })
      } catch (thrown) {
        if (!(thrown instanceof FreshetError) || thrown.code !== 'topic-missing') throw thrown
        if (asked >= answersToBelieve) return null
        await sleep(askAgainAfterMs)
      }
    }
  }

  /** @returns false when another one made it first. */
  async #create(spec: TopicSpec): Promise<boolean> {
    const replication = this.#replication
    const settings = new Map(settingsOf(spec, this.#maxRecordBytes))
    if (replication !== undefined) settings.set('min.insync.replicas', `${replication.minInSync}`)
    const isCreated = await this.#admin.use(`create topic ${spec.name}`, admin =>
      admin.createTopics({
        // Waits below: kafkajs takes the first broker's ignorance of the new topic for an error.
        waitForLeaders: false,
        topics: [
          {
            topic: spec.name,
            numPartitions: spec.partitions,
            replicationFactor: replication?.factor ?? -1,
            configEntries: entriesOf(settings),
          },
        ],
      }),
    )
    await this.#untilLed(spec.name)
    return isCreated
  }

  async #untilLed(topic: string): Promise<void> {
    await this.#admin.use(`leaders of ${topic}`, async admin => {
      if (!(await isLed(admin, topic)))
        throw new FreshetError('log-unavailable', `the partitions of the new topic ${topic} have no leaders yet`)
    })
  }

  #describe(topic: string): Promise<TopicSettings> {
    return this.#admin.use(`settings of ${topic}`, async admin => {
      const response: DescribeConfigResponse = await admin.describeConfigs({
        includeSynonyms: false,
        resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: topic }],
      })
      return describedSettings(response)
    })
  }

  async #alter(spec: TopicSpec, existing: TopicSettings): Promise<void> {
    const replaced = replacedSettings(existing, settingsOf(spec, this.#maxRecordBytes))
    if (replaced === null) return
    await this.#admin.use(`settings of ${spec.name}`, admin =>
      admin.alterConfigs({
        validateOnly: false,
        resources: [{ type: kafkajs.ConfigResourceTypes.TOPIC, name: spec.name, configEntries: entriesOf(replaced) }],
      }),
    )
  }
}

async function isLed(admin: Admin, topic: string): Promise<boolean> {
  try {
    const { topics } = await admin.fetchTopicMetadata({ topics: [topic] })
    return topics[0]!.partitions.every(({ leader }) => leader >= 0)
  } catch (thrown) {
    if (brokerErrorOf(thrown) === 'UNKNOWN_TOPIC_OR_PARTITION') return false
    throw thrown
  }
}
