import { setTimeout as sleep } from 'node:timers/promises'
import type { Cluster } from 'kafkajs'
import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, type Offset, type Partition } from '../../schemas/ids.ts'
import type { LogRecord } from '../event-log.ts'
import { forgetClosedConnection } from './cluster-access.ts'
import { type FetchedPartition, readableRecords } from './fetched-records.ts'
import type { KafkaLog } from './kafka-connection.ts'
import { asLogFailure } from './kafka-failures.ts'
import { ReadPartition } from './read-partition.ts'

export interface FetcherOptions {
  readonly cluster: Cluster
  readonly topic: string
  readonly positions: ReadonlyMap<Partition, Offset>
  readonly clock: () => number
  readonly log: KafkaLog | undefined
  /** There is something to take, or a failure to throw. */
  readonly onNews: () => void
}

interface FetchRequest {
  readonly offsets: ReadonlyMap<Partition, Offset>
  readonly maxWaitMs: number
  readonly maxPartitionBytes: number
}

/** The broker answers at the first byte, or after this time; also the longest a pause or resume goes unnoticed. */
const maxWaitMs = 100
/**
 * After an answer with fewer records than this, more are let come for so long: a request for each few of them would
 * cost broker and reader more than the records do. The first after a silence is fetched at once.
 */
const fewRecords = 256
const gatherMs = 20
/** Above the largest batch a topic takes by default, so that one batch always fits. */
const maxPartitionBytes = 2 ** 20 + 2 ** 16
const maxFetchBytes = 16 * 2 ** 20
/** Offsets looked at side by side where log compaction has left empty batches. */
const probedOffsets = 32
/** What is fetched and not delivered: at the bound fetching stops, at half of it goes on. */
const maxBufferedBytes = 16 * 2 ** 20
const maxBufferedRecords = 20_000
const firstBackoffMs = 50
const maxBackoffMs = 1_000
/** A topic just made is not known to every broker at once, nor is any topic to a broker that starts. */
const topicMissingAfterMs = 10_000
/** A leader just elected may still be behind. */
const outOfRangeAnswersToBelieve = 3

/** `nodeId` of partitions that have no leader just now; looking for that broker refreshes the metadata. */
const noLeader = '-1'

/**
 * Fetches fixed partitions from given offsets into a bounded buffer, from each leader with one request at a time.
 *
 * Uses kafkajs's requests, not its consumer: that one commits and jumps to the end or the start when a position is out
 * of range, stops on errors a retry would mend, and never passes the empty batches that log compaction leaves behind.
 *
 * States: fetching ⇄ held (the buffer is at its bound) → failed (a final error, kept in `failure`) | stopped.
 */
export class LogFetcher {
  readonly #options: FetcherOptions
  readonly #partitions: ReadonlyMap<Partition, ReadPartition>
  readonly #order: readonly ReadPartition[]
  readonly #busyNodes = new Map<string, Promise<void>>()
  readonly #stopping = new AbortController()
  #first = 0
  #isHeld = false
  #failure: FreshetError | null = null

  constructor(options: FetcherOptions) {
    this.#options = options
    this.#order = [...options.positions].map(([partition, offset]) => new ReadPartition(partition, offset))
    this.#partitions = new Map(this.#order.map(each => [each.partition, each]))
  }

  /** A final error; nothing is fetched any more. */
  get failure(): FreshetError | null {
    return this.#failure
  }

  start(): void {
    this.#pump()
  }

  /** Resolves when no request is under way. What was buffered is gone. */
  async stop(): Promise<void> {
    this.#stopping.abort()
    for (const partition of this.#order) partition.discard()
    await Promise.all(this.#busyNodes.values())
  }

  /** Next records; begins where the call before stopped among the partitions, so that none starves. */
  take(maxRecords: number): readonly LogRecord[] {
    const records: LogRecord[] = []
    for (let tried = 0; tried < this.#order.length && records.length < maxRecords; tried++) {
      const partition = this.#order[this.#first]!
      this.#first = (this.#first + 1) % this.#order.length
      if (!partition.isPaused) partition.take(maxRecords - records.length, records)
    }
    if (this.#isHeld) this.#pump()
    return records
  }

  pause(partition: Partition): void {
    const paused = this.#partitions.get(partition)
    if (paused === undefined || paused.isPaused) return
    paused.isPaused = true
    // What the paused ones keep does not count for the others' bound, so it needs one of its own.
    if (this.#order.reduce((sum, each) => sum + each.bufferedBytes, 0) > maxBufferedBytes) paused.discard()
    this.#pump()
  }

  resume(partition: Partition): void {
    const resumed = this.#partitions.get(partition)
    if (resumed === undefined || !resumed.isPaused) return
    resumed.isPaused = false
    if (resumed.bufferedRecords > 0) this.#options.onNews()
    this.#pump()
  }

  position(partition: Partition): Offset | undefined {
    return this.#partitions.get(partition)?.position
  }

  /** Since when some partition cannot be fetched; null when all can. */
  failingSinceMs(): number | null {
    const times = this.#order.flatMap(({ failingSinceMs, isPaused }) => (isPaused ? [] : (failingSinceMs ?? [])))
    return times.length === 0 ? null : Math.min(...times)
  }

  #pump(): void {
    if (this.#stopping.signal.aborted || this.#failure !== null || this.#isFull()) return
    for (const [nodeId, partitions] of this.#fetchableByLeader())
      if (!this.#busyNodes.has(nodeId)) this.#busyNodes.set(nodeId, this.#fetchFrom(nodeId, partitions))
  }

  #isFull(): boolean {
    const active = this.#order.filter(({ isPaused }) => !isPaused)
    const bytes = active.reduce((sum, each) => sum + each.bufferedBytes, 0)
    const records = active.reduce((sum, each) => sum + each.bufferedRecords, 0)
    const share = Math.max(bytes / maxBufferedBytes, records / maxBufferedRecords)
    this.#isHeld = share >= (this.#isHeld ? 0.5 : 1)
    return this.#isHeld
  }

  #fetchableByLeader(): ReadonlyMap<string, readonly ReadPartition[]> {
    const fetchable = this.#order.filter(({ isPaused, isInFlight }) => !isPaused && !isInFlight)
    const leaders = this.#leaders(fetchable.map(({ partition }) => partition))
    return Map.groupBy(fetchable, ({ partition }) => leaders.get(partition) ?? noLeader)
  }

  #leaders(partitions: readonly Partition[]): ReadonlyMap<number, string> {
    const { cluster, topic } = this.#options
    try {
      const led = Object.entries(cluster.findLeaderForPartitions(topic, [...partitions]))
      return new Map(led.flatMap(([nodeId, those]) => those.map(partition => [partition, nodeId] as const)))
    } catch {
      // There is no metadata after the connection was lost; looking for a broker brings it back.
      return new Map()
    }
  }

  async #fetchFrom(nodeId: string, partitions: readonly ReadPartition[]): Promise<void> {
    const doubtful = partitions.find(({ emptyUpTo }) => emptyUpTo !== null)
    const wanted = doubtful === undefined ? partitions : [doubtful]
    for (const partition of wanted) partition.isInFlight = true
    const fetching = doubtful === undefined ? this.#fetchAll(nodeId, partitions) : this.#probe(nodeId, doubtful)
    const failed = await fetching.then(
      () => null,
      (thrown: unknown) => ({ thrown }),
    )
    for (const partition of wanted) partition.isInFlight = false
    if (failed !== null && !this.#stopping.signal.aborted) await this.#recover(wanted, failed.thrown)
    this.#busyNodes.delete(nodeId)
    this.#pump()
  }

  async #fetchAll(nodeId: string, wanted: readonly ReadPartition[]): Promise<void> {
    const positions = wanted.map(each => ({ each, offset: each.next }))
    const fetched = await this.#fetch(nodeId, {
      maxWaitMs,
      maxPartitionBytes,
      offsets: new Map(positions.map(({ each, offset }) => [each.partition, offset])),
    })
    let records = 0
    for (const { each, offset } of positions) {
      const answer = fetched.get(each.partition)
      if (answer === undefined) continue
      records += answer.messages.length
      this.#accept(each, offset, answer)
    }
    if (records > 0 && records < fewRecords) await this.#rest(gatherMs)
  }

  /**
   * The log goes on behind the position, but an answer held no records. Either there was no room for them, or it held
   * the empty batches that log compaction keeps of each producer; kafkajs decodes them to nothing, and so cannot tell
   * where they end. An answer begins with the batch of its offset or the next one, and has room for that in any case:
   * if it is empty, there is no record at the offset. So one offset after the other is looked at, many at once.
   */
  async #probe(nodeId: string, partition: ReadPartition): Promise<void> {
    const from = partition.next
    const end = Math.min(from + probedOffsets, partition.emptyUpTo ?? from)
    const offsets = Array.from({ length: end - from }, (_, i) => asOffset(from + i))
    const answers = await Promise.all(
      offsets.map(async offset => {
        const fetched = await this.#fetch(nodeId, {
          maxWaitMs: 0,
          maxPartitionBytes: 1,
          offsets: new Map([[partition.partition, offset]]),
        })
        return { offset, answer: fetched.get(partition.partition) }
      }),
    )
    const found = answers.find(({ answer }) => answer === undefined || answer.messages.length > 0)
    if (partition.next !== from) return
    partition.emptyUpTo = null
    partition.passTo(found?.offset ?? asOffset(end))
    if (found?.answer !== undefined) this.#accept(partition, found.offset, found.answer)
  }

  async #fetch(nodeId: string, request: FetchRequest): Promise<ReadonlyMap<number, FetchedPartition>> {
    const { cluster, topic } = this.#options
    await cluster.refreshMetadataIfNecessary()
    const broker = await cluster.findBroker({ nodeId })
    const partitions = [...request.offsets].map(([partition, offset]) => ({
      partition,
      fetchOffset: `${offset}`,
      maxBytes: request.maxPartitionBytes,
    }))
    const answer: { responses: { partitions: FetchedPartition[] }[] } = await broker.fetch({
      maxWaitTime: request.maxWaitMs,
      minBytes: 1,
      maxBytes: maxFetchBytes,
      topics: [{ topic, partitions }],
    })
    const fetched = this.#stopping.signal.aborted ? [] : answer.responses.flatMap(each => each.partitions)
    return new Map(fetched.map(each => [each.partition, each]))
  }

  #accept(partition: ReadPartition, requested: Offset, fetched: FetchedPartition): void {
    partition.failingSinceMs = null
    partition.outOfRangeAnswers = 0
    // Discarded meanwhile: to be fetched again.
    if (partition.next !== requested) return
    const committedEnd = asOffset(Number(fetched.lastStableOffset))
    partition.emptyUpTo = fetched.messages.length === 0 && committedEnd > requested ? committedEnd : null
    const readable = readableRecords(this.#options.topic, fetched, requested)
    partition.add(readable)
    if (readable.records.length > 0) this.#options.onNews()
  }

  /** After a failed fetch. One partition's error fails the whole answer, and only some errors tell which it was. */
  async #recover(partitions: readonly ReadPartition[], thrown: unknown): Promise<void> {
    const { cluster, clock, topic, log } = this.#options
    const failure = asLogFailure(thrown, `read ${topic}`)
    const nowMs = clock()
    for (const partition of partitions) partition.failingSinceMs ??= nowMs
    const failingMs = nowMs - Math.min(...partitions.map(({ failingSinceMs }) => failingSinceMs!))
    log?.debug({ topic, code: failure.code, error: failure.message, failingMs }, 'a fetch failed')
    if (failure.code === 'offset-out-of-range') this.#countOutOfRange(thrown)
    if (this.#isFinal(failure, failingMs)) return this.#fail(failure)
    forgetClosedConnection(cluster, thrown)
    await this.#backOff(failingMs)
    // A refresh that fails shows again in the next fetch.
    await cluster.refreshMetadata().catch(() => undefined)
  }

  #countOutOfRange(thrown: unknown): void {
    const partition = this.#partitions.get((thrown as { partition: Partition }).partition)
    if (partition !== undefined) partition.outOfRangeAnswers++
  }

  #isFinal(failure: FreshetError, failingMs: number): boolean {
    switch (failure.code) {
      case 'topic-missing':
        return failingMs >= topicMissingAfterMs
      case 'offset-out-of-range':
        return this.#order.some(({ outOfRangeAnswers }) => outOfRangeAnswers >= outOfRangeAnswersToBelieve)
      default:
        return !failure.retryable
    }
  }

  #fail(failure: FreshetError): void {
    if (this.#stopping.signal.aborted) return
    this.#failure = failure
    this.#options.onNews()
  }

  #backOff(failingMs: number): Promise<void> {
    return this.#rest(Math.min(maxBackoffMs, Math.max(firstBackoffMs, failingMs / 2)))
  }

  /** Ended by `stop`. */
  #rest(ms: number): Promise<void> {
    return sleep(ms, undefined, { signal: this.#stopping.signal }).catch(() => undefined)
  }
}

/** The error of a position outside of the log. */
export function outOfRange(
  topic: string,
  partition: Partition,
  offset: Offset,
  range: { readonly start: Offset; readonly end: Offset },
): FreshetError {
  const { start, end } = range
  return new FreshetError(
    'offset-out-of-range',
    `offset ${offset} of partition ${partition} of ${topic} lies outside ${start} to ${end}`,
    { details: { topic, partition, offset, start, end } },
  )
}
