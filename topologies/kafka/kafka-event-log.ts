import type { Kafka } from 'kafkajs'
import { FreshetError } from '../../schemas/errors.ts'
import type { Offset, Partition } from '../../schemas/ids.ts'
import type { AppendedRecord, EventLog, LogReader, NewRecord, ReaderOptions, TopicSpec } from '../event-log.ts'
import { AdminAccess } from './admin-access.ts'
import { ByteBudget } from './byte-budget.ts'
import { createKafka, type KafkaConnection, type KafkaLog } from './kafka-connection.ts'
import { KafkaLogReader, type KafkaReaderOptions } from './kafka-log-reader.ts'
import { outOfRange } from './log-fetcher.ts'
import { type Replication, TopicAdministration } from './topic-administration.ts'
import { TopicAppender } from './topic-appender.ts'

export interface KafkaEventLogOptions extends KafkaConnection {
  /** How brokers name us in their logs and quotas. */
  readonly clientId: string
  /** A pino logger fits. */
  readonly log?: KafkaLog
  /** ms since 1970 */
  readonly clock?: () => number
  /** Largest record, with its key and headers; topics made here allow it. Default 1,000,000. */
  readonly maxRecordBytes?: number
  /** Records that are appended and not yet acknowledged; further appends wait. Default 64 MiB. */
  readonly maxUnacknowledgedBytes?: number
  /** How long any call, or a reader, waits for brokers before it says `log-unavailable`. Default 60 s. */
  readonly patienceMs?: number
  /** Producers per topic, each for its share of the partitions. Default 1: each costs brokers a request of its own. */
  readonly producersPerTopic?: number
  /** How long a member of a group may be silent before the others get its partitions. Default 10 s. */
  readonly sessionTimeoutMs?: number
  /** Of topics made here; default what the brokers have as theirs. */
  readonly replication?: Replication
}

/**
 * EventLog on Kafka. Topics are never made by anything but `ensureTopic`. What holds and what does not: README.md.
 */
export class KafkaEventLog implements EventLog {
  readonly #options: KafkaEventLogOptions
  readonly #kafka: Kafka
  readonly #clock: () => number
  readonly #patienceMs: number
  readonly #maxRecordBytes: number
  readonly #admin: AdminAccess
  readonly #administration: TopicAdministration
  readonly #budget: ByteBudget
  readonly #partitionCounts = new Map<string, Promise<number>>()
  readonly #appenders = new Map<string, TopicAppender>()
  readonly #readers = new Set<KafkaLogReader>()
  #isClosed = false

  /** Connects when first used. */
  constructor(options: KafkaEventLogOptions) {
    this.#options = options
    this.#clock = options.clock ?? Date.now
    this.#patienceMs = options.patienceMs ?? 60_000
    this.#maxRecordBytes = options.maxRecordBytes ?? 1_000_000
    this.#kafka = createKafka(options, options.clientId, options.log)
    this.#admin = new AdminAccess(this.#kafka, this.#patienceMs)
    const { replication } = options
    this.#administration = new TopicAdministration(this.#admin, { maxRecordBytes: this.#maxRecordBytes, replication })
    this.#budget = new ByteBudget(options.maxUnacknowledgedBytes ?? 64 * 2 ** 20)
  }

  /** Why readers do not get records: those that have ended, and those without broker or group for too long. */
  readerFailures(): readonly FreshetError[] {
    return [...this.#readers].flatMap(({ failure }) => failure ?? [])
  }

  /** Readers that are out of their group now, or have not heard of it: others may have their partitions already. */
  groupAbsences(): readonly FreshetError[] {
    return [...this.#readers].flatMap(({ absence }) => absence ?? [])
  }

  ensureTopic(spec: TopicSpec): Promise<void> {
    return this.#administration.ensureTopic(spec)
  }

  async deleteTopic(topic: string): Promise<void> {
    const appender = this.#appenders.get(topic)
    this.#appenders.delete(topic)
    await this.#administration.deleteTopic(topic)
    this.#partitionCounts.delete(topic)
    await appender?.close()
  }

  topicSpec(topic: string): Promise<TopicSpec | null> {
    return this.#administration.topicSpec(topic)
  }

  partitionCount(topic: string): Promise<number> {
    return this.#administration.partitionCount(topic)
  }

  async append(topic: string, records: readonly NewRecord[]): Promise<readonly AppendedRecord[]> {
    const partitions = await this.#knownPartitionCount(topic)
    this.#requireOpen()
    for (const { partition } of records) requirePartition(topic, partition, partitions)
    return records.length === 0 ? [] : this.#appender(topic).append(records)
  }

  offsets(topic: string): Promise<ReadonlyMap<Partition, { readonly start: Offset; readonly end: Offset }>> {
    return this.#administration.offsets(topic)
  }

  committed(group: string, topic: string): Promise<ReadonlyMap<Partition, Offset>> {
    return this.#administration.committed(group, topic)
  }

  async openReader(options: ReaderOptions): Promise<LogReader> {
    const { topic, partitions, group, from } = options
    if (group === undefined && (partitions === 'group' || from === 'committed'))
      throw new FreshetError('bad-request', 'a reader of a group, or from committed offsets, names its group')
    if (partitions === 'group' && from !== 'committed')
      throw new FreshetError('bad-request', 'partitions that a group assigns are read from committed offsets')
    const count = await this.partitionCount(topic)
    for (const partition of partitions === 'group' ? [] : partitions) requirePartition(topic, partition, count)
    this.#requireOpen()
    const reader = new KafkaLogReader({
      ...this.#readerOptions(),
      topic,
      partitions,
      group,
      positionsOf: assigned => this.#positionsOf(assigned, options),
      onClose: () => this.#readers.delete(reader),
    })
    this.#readers.add(reader)
    await reader.open()
    return reader
  }

  /** Closes the readers; what is appended and not acknowledged is tried once more. */
  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all([...this.#readers].map(reader => reader.close()))
    await Promise.all([...this.#appenders.values()].map(appender => appender.close()))
    await this.#admin.close()
  }

  /** After each wait: what is opened behind `close` would stay open. @throws FreshetError */
  #requireOpen(): void {
    if (this.#isClosed) throw new FreshetError('log-unavailable', 'the log is closed')
  }

  #readerOptions(): Pick<KafkaReaderOptions, 'kafka' | 'clock' | 'log' | 'patienceMs' | 'sessionTimeoutMs'> {
    const { log, sessionTimeoutMs = 10_000 } = this.#options
    return { kafka: this.#kafka, clock: this.#clock, log, patienceMs: this.#patienceMs, sessionTimeoutMs }
  }

  /** Asked once: the partitions of a topic never change in number. Awaited by each append, so that their order stays. */
  #knownPartitionCount(topic: string): Promise<number> {
    const known = this.#partitionCounts.get(topic)
    if (known !== undefined) return known
    const asked = this.partitionCount(topic)
    this.#partitionCounts.set(topic, asked)
    asked.catch(() => this.#partitionCounts.delete(topic))
    return asked
  }

  #appender(topic: string): TopicAppender {
    const existing = this.#appenders.get(topic)
    if (existing !== undefined) return existing
    const appender = new TopicAppender({
      kafka: this.#kafka,
      topic,
      clock: this.#clock,
      log: this.#options.log,
      patienceMs: this.#patienceMs,
      maxRecordBytes: this.#maxRecordBytes,
      budget: this.#budget,
      lanes: this.#options.producersPerTopic ?? 1,
      topicExists: () => this.#topicExists(topic),
    })
    this.#appenders.set(topic, appender)
    return appender
  }

  async #topicExists(topic: string): Promise<boolean> {
    const spec = await this.#administration.topicSpec(topic)
    if (spec === null) this.#partitionCounts.delete(topic)
    return spec !== null
  }

  async #positionsOf(
    partitions: readonly Partition[],
    { topic, group, from }: ReaderOptions,
  ): Promise<ReadonlyMap<Partition, Offset>> {
    const given = from === 'committed' ? await this.committed(group ?? '', topic) : from
    const ranges = await this.offsets(topic)
    return new Map(
      partitions.map(partition => {
        const range = ranges.get(partition)
        if (range === undefined)
          throw new FreshetError('log-unavailable', `partition ${partition} of ${topic} is unknown`)
        const position = given.get(partition) ?? range.start
        if (position < range.start || position > range.end) throw outOfRange(topic, partition, position, range)
        return [partition, position]
      }),
    )
  }
}

/** @throws FreshetError `misrouted` */
function requirePartition(topic: string, partition: Partition, count: number): void {
  if (partition < 0 || partition >= count)
    throw new FreshetError('misrouted', `topic ${topic} has no partition ${partition}`)
}
