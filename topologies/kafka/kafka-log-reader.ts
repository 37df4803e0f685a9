import { setImmediate as nextTick, setTimeout as sleep } from 'node:timers/promises'
import type { Kafka } from 'kafkajs'
import { FreshetError } from '../../schemas/errors.ts'
import type { Offset, Partition } from '../../schemas/ids.ts'
import type { LogReader, LogRecord } from '../event-log.ts'
import { News } from '../news.ts'
import { accessCluster, type ClusterAccess } from './cluster-access.ts'
import { type GroupAssignment, GroupMembership } from './group-membership.ts'
import { type Committer, GroupOffsets, outsideOfGroup } from './group-offsets.ts'
import type { KafkaLog } from './kafka-connection.ts'
import { asLogFailure } from './kafka-failures.ts'
import { LogFetcher } from './log-fetcher.ts'

export interface KafkaReaderOptions {
  readonly kafka: Kafka
  readonly topic: string
  /** Fixed partitions, or `group`, which must then be named. */
  readonly partitions: readonly Partition[] | 'group'
  readonly group: string | undefined
  /** Where reading of these partitions begins. @throws FreshetError `offset-out-of-range` and those of an outage */
  readonly positionsOf: (partitions: readonly Partition[]) => Promise<ReadonlyMap<Partition, Offset>>
  readonly sessionTimeoutMs: number
  readonly patienceMs: number
  readonly clock: () => number
  readonly log: KafkaLog | undefined
  readonly onClose: () => void
}

/** What is read in one epoch. */
interface Reading {
  readonly epoch: number
  readonly partitions: readonly Partition[]
  readonly fetcher: LogFetcher
  /** Null for fixed partitions. */
  readonly assignment: GroupAssignment | null
}

const retryMs = 250

/**
 * Reads fixed partitions, or those its group assigns.
 *
 * States: opening → reading → ended (a final error, thrown by each `poll`) | closed. Of a group: reading (epoch n) →
 * moving (the group has rebalanced: nothing is delivered, commits are left out) → prepared (positions of the new
 * assignment are known, fetching has begun) → reading (epoch n + 1), which the next `poll` does.
 */
export class KafkaLogReader implements LogReader {
  readonly #options: KafkaReaderOptions
  readonly #access: ClusterAccess
  readonly #offsets: GroupOffsets | null
  readonly #membership: GroupMembership | null
  #reading: Reading | null = null
  #prepared: Reading | null = null
  /** The group's last word; what is read or prepared for another one has ended. */
  #assigned: GroupAssignment | null = null
  #failure: FreshetError | null = null
  #hadRecords = false
  #isClosed = false
  readonly #news = new News()

  constructor(options: KafkaReaderOptions) {
    this.#options = options
    this.#access = accessCluster(options.kafka)
    const { group, partitions } = options
    this.#offsets = group === undefined ? null : new GroupOffsets({ ...options, group, cluster: this.#access.cluster })
    this.#membership =
      partitions !== 'group' || group === undefined
        ? null
        : new GroupMembership({
            ...options,
            group,
            onAssigned: assignment => this.#assign(assignment),
            onFailure: failure => this.#end(failure),
          })
  }

  /**
   * Once, before all else; resolves when the partitions are known. Closed when it fails.
   * @throws FreshetError `log-unavailable`, `offset-out-of-range`, `access-denied`
   */
  async open(): Promise<void> {
    try {
      await this.#begin()
    } catch (thrown) {
      await this.close()
      throw asLogFailure(thrown, `read ${this.#options.topic}`)
    }
  }

  /** Why this reader does not get records: it has ended, or has had no broker or group for too long. */
  get failure(): FreshetError | null {
    const { topic, clock, patienceMs } = this.#options
    const ended = this.#failure ?? this.#reading?.fetcher.failure ?? null
    if (ended !== null) return ended
    const sinceMs = this.#reading?.fetcher.failingSinceMs() ?? this.#membership?.awaySinceMs ?? null
    if (sinceMs === null || clock() - sinceMs < patienceMs) return null
    return new FreshetError('log-unavailable', `${topic} could not be read for ${clock() - sinceMs} ms`)
  }

  /** Why a reader of a group may own no partition now, see `GroupMembership`; null while it does, and for fixed ones. */
  get absence(): FreshetError | null {
    return this.#membership?.absence ?? null
  }

  async poll(maxRecords: number, waitMs: number): Promise<readonly LogRecord[]> {
    // A caller that is behind would otherwise loop in microtasks alone and keep timers, sockets and commits waiting.
    if (this.#hadRecords) await nextTick()
    let records = this.#next(maxRecords)
    if (records === null) {
      await this.#news.wait(waitMs)
      records = this.#next(maxRecords) ?? []
      const { failure } = this
      if (records.length === 0 && failure !== null && !this.#isClosed) throw failure
    }
    this.#hadRecords = records.length > 0
    return records
  }

  assignment(): { readonly epoch: number; readonly partitions: readonly Partition[] } {
    const { epoch, partitions } = this.#current()
    return { epoch, partitions }
  }

  pause(partitions: readonly Partition[]): void {
    for (const partition of partitions) this.#current().fetcher.pause(partition)
  }

  resume(partitions: readonly Partition[]): void {
    for (const partition of partitions) this.#current().fetcher.resume(partition)
  }

  position(partition: Partition): Offset {
    const position = this.#current().fetcher.position(partition)
    if (position === undefined)
      throw new FreshetError('misrouted', `partition ${partition} of ${this.#options.topic} is not assigned here`)
    return position
  }

  async commit(offsets: ReadonlyMap<Partition, Offset>): Promise<void> {
    if (this.#offsets === null) throw new FreshetError('bad-request', 'a reader without a group cannot commit')
    const { partitions, assignment } = this.#current()
    const owned = new Map([...offsets].filter(([partition]) => partitions.includes(partition)))
    if (owned.size === 0 || assignment !== this.#assigned) return
    const committer = await committerOf(assignment)
    if (committer !== null) await this.#offsets.commit(owned, committer)
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#news.tell()
    this.#options.onClose()
    this.#offsets?.close()
    await Promise.all([this.#membership?.close(), this.#reading?.fetcher.stop(), this.#prepared?.fetcher.stop()])
    await this.#access.close()
  }

  async #begin(): Promise<void> {
    const { partitions } = this.#options
    await this.#connect()
    if (partitions !== 'group') this.#reading = await this.#prepare(partitions, null)
    else {
      this.#membership!.join()
      await this.#untilAssigned()
    }
  }

  async #connect(): Promise<void> {
    const { topic, clock, patienceMs } = this.#options
    const deadlineMs = clock() + patienceMs
    for (;;) {
      try {
        await this.#access.cluster.connect()
        return await this.#access.cluster.addTargetTopic(topic)
      } catch (thrown) {
        const failure = asLogFailure(thrown, `read ${topic}`)
        // The topic is there; this broker may not know it yet.
        const passes = failure.retryable || failure.code === 'topic-missing'
        if (!passes || this.#isClosed || clock() >= deadlineMs) throw failure
        await sleep(retryMs)
      }
    }
  }

  async #untilAssigned(): Promise<void> {
    const { clock, patienceMs, group } = this.#options
    const deadlineMs = clock() + patienceMs
    while (this.#prepared === null && this.#failure === null && !this.#isClosed && clock() < deadlineMs)
      await this.#news.wait(deadlineMs - clock())
    if (this.#failure !== null) throw this.#failure
    if (this.#prepared === null) throw new FreshetError('log-unavailable', `group ${group} assigns no partitions`)
    this.#adopt(this.#prepared)
  }

  /** Next records; an empty array when the assignment changed; null when there is nothing now. */
  #next(maxRecords: number): readonly LogRecord[] | null {
    if (this.#isClosed) return []
    if (this.#prepared !== null) {
      this.#adopt(this.#prepared)
      return []
    }
    const ended = this.#failure ?? this.#current().fetcher.failure
    if (ended !== null) throw ended
    const records = this.#current().fetcher.take(maxRecords)
    return records.length === 0 ? null : records
  }

  #current(): Reading {
    if (this.#reading === null) throw new FreshetError('not-ready', 'the reader is not open')
    return this.#reading
  }

  #adopt(prepared: Reading): void {
    this.#reading = prepared
    this.#prepared = null
  }

  /** Called by the group. Nothing of the old assignment is delivered any more. */
  #assign(assignment: GroupAssignment): void {
    this.#assigned = assignment
    void this.#reading?.fetcher.stop()
    void this.#prepared?.fetcher.stop()
    this.#prepared = null
    this.#move(assignment).catch((thrown: unknown) => this.#end(asLogFailure(thrown, 'begin an assignment')))
  }

  async #move(assignment: GroupAssignment): Promise<void> {
    while (this.#assigned === assignment && !this.#isClosed) {
      try {
        const prepared = await this.#prepare(assignment.partitions, assignment)
        if (this.#assigned !== assignment || this.#isClosed) return void prepared.fetcher.stop()
        this.#prepared = prepared
        this.#news.tell()
        return
      } catch (thrown) {
        const failure = asLogFailure(thrown, `begin to read ${this.#options.topic}`)
        if (!failure.retryable) throw failure
        await sleep(retryMs)
      }
    }
  }

  async #prepare(partitions: readonly Partition[], assignment: GroupAssignment | null): Promise<Reading> {
    const positions = await this.#options.positionsOf(partitions)
    const fetcher = new LogFetcher({
      ...this.#options,
      cluster: this.#access.cluster,
      positions,
      onNews: () => this.#news.tell(),
    })
    if (!this.#isClosed) fetcher.start()
    return { epoch: (this.#reading?.epoch ?? 0) + 1, partitions, fetcher, assignment }
  }

  #end(failure: FreshetError): void {
    this.#failure = failure
    this.#news.tell()
  }
}

async function committerOf(assignment: GroupAssignment | null): Promise<Committer | null> {
  if (assignment === null) return outsideOfGroup
  const groupGeneration = await assignment.groupGeneration()
  return groupGeneration === null ? null : { memberId: assignment.memberId, groupGeneration }
}
