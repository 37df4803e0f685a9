import { setImmediate as nextTick, setTimeout as sleep } from 'node:timers/promises'
import type { Kafka, Producer } from 'kafkajs'
import { FreshetError } from '../../schemas/errors.ts'
import type { Partition } from '../../schemas/ids.ts'
import type { KafkaLog } from './kafka-connection.ts'
import { asLogFailure } from './kafka-failures.ts'
import { type BatchBounds, type QueuedRecords, settleBatch } from './queued-records.ts'

export interface LaneOptions {
  readonly kafka: Kafka
  readonly topic: string
  readonly bounds: BatchBounds
  readonly clock: () => number
  readonly log: KafkaLog | undefined
  /** Asked when a broker says that the topic is unknown, which it also says for a moment after a start. */
  readonly topicExists: () => Promise<boolean>
  /** Bytes that are in the log, or given up. */
  readonly onSettled: (bytes: number) => void
}

type Batch = Map<Partition, readonly QueuedRecords[]>

/** One request to each leader holds at most so much. */
const maxRequestBytes = 4 * 2 ** 20
/** How long the leader waits for the replicas in sync. */
const acknowledgeWithinMs = 10_000
const retryAfterMs = 200
/** Of one send: bounds the time until its failure is looked at here, about 5 s. */
const sendRetry = { retries: 10, initialRetryTime: 100, maxRetryTime: 500 } as const

/**
 * Appends to some partitions of one topic, in the order given: one idempotent producer, one send at a time. What comes
 * while a send is under way goes together in the next one.
 *
 * Two rules keep kafkajs from losing what it reports as sent:
 * - The partitions in its answer are compared with those sent, and the missing ones are sent again. It remembers
 *   answers per broker, so a partition that moves to a broker that has answered already is never sent, and the send
 *   succeeds all the same.
 * - A batch is sent again unchanged, or by another producer. After a failure it reuses the sequence numbers, and the
 *   broker would take other records of the same number under them for a repetition, and drop them.
 */
export class ProducerLane {
  readonly #options: LaneOptions
  readonly #queues = new Map<Partition, QueuedRecords[]>()
  readonly #leaving = new Set<Promise<void>>()
  #producer: Promise<Producer> | null = null
  #running: Promise<void> | null = null
  #isClosing = false

  constructor(options: LaneOptions) {
    this.#options = options
  }

  append(records: QueuedRecords): void {
    const queue = this.#queues.get(records.partition) ?? []
    this.#queues.set(records.partition, queue)
    queue.push(records)
    this.#running ??= this.#run()
  }

  /** What is queued is tried once more; then it is given up. */
  async close(): Promise<void> {
    this.#isClosing = true
    await this.#running
    this.#replaceProducer()
    await Promise.all(this.#leaving)
  }

  async #run(): Promise<void> {
    // What else is appended in this tick goes along.
    await nextTick()
    while (this.#queues.size > 0) await this.#deliver(this.#nextBatch())
    this.#running = null
  }

  /** Takes from the head of each partition what fits; partitions left out come first in the next one. */
  #nextBatch(): Batch {
    const batch: Batch = new Map()
    let requestBytes = 0
    for (const [partition, queue] of [...this.#queues]) {
      if (requestBytes >= maxRequestBytes) break
      const taken = queue.splice(0, fitting(queue, this.#options.bounds))
      batch.set(partition, taken)
      requestBytes += taken.reduce((sum, { bytes }) => sum + bytes, 0)
      this.#queues.delete(partition)
      if (queue.length > 0) this.#queues.set(partition, queue)
    }
    return batch
  }

  async #deliver(batch: Batch): Promise<void> {
    while (batch.size > 0) {
      try {
        await this.#send(batch)
      } catch (thrown) {
        this.#replaceProducer()
        await this.#failed(batch, asLogFailure(thrown, `append to ${this.#options.topic}`))
      }
    }
  }

  /** Takes what was acknowledged out of the batch. */
  async #send(batch: Batch): Promise<void> {
    const { topic, clock, log } = this.#options
    this.#producer ??= this.#connect()
    const producer = await this.#producer
    const sent = batch.size
    const answered = await producer.send({
      topic,
      acks: -1,
      timeout: acknowledgeWithinMs,
      messages: [...batch.values()].flatMap(queued => queued.flatMap(({ messages }) => messages)),
    })
    for (const metadata of answered) {
      const partition = metadata.partition as Partition
      const queued = batch.get(partition)
      if (queued === undefined) continue
      batch.delete(partition)
      settleBatch(queued, metadata, clock())
      for (const { bytes } of queued) this.#options.onSettled(bytes)
    }
    // Not one of them: the partitions have gone, and sending again at once would go on for ever.
    if (batch.size === sent) throw new FreshetError('log-unavailable', 'no partition was acknowledged')
    if (batch.size > 0) log?.warn({ topic, partitions: [...batch.keys()] }, 'partitions are missing in the answer')
  }

  /** Empties the batch where it is to be given up; what stays in it is sent again. */
  async #failed(batch: Batch, failure: FreshetError): Promise<void> {
    const { topic, log } = this.#options
    log?.warn({ topic, code: failure.code, error: failure.message }, 'an append failed')
    switch (failure.code) {
      case 'record-too-large':
        return this.#findTooLarge(batch, failure)
      case 'topic-missing':
        if (await this.#topicExists()) return this.#waitToRetry(batch, failure)
        return this.#giveUp(batch, failure)
      default:
        return failure.retryable ? this.#waitToRetry(batch, failure) : this.#giveUp(batch, failure)
    }
  }

  /** The answer does not tell which it was: each goes alone. */
  async #findTooLarge(batch: Batch, failure: FreshetError): Promise<void> {
    const all = [...batch.values()].flat()
    if (all.length === 1) return this.#giveUp(batch, failure)
    batch.clear()
    for (const queued of all) await this.#deliver(new Map([[queued.partition, [queued]]]))
  }

  async #waitToRetry(batch: Batch, failure: FreshetError): Promise<void> {
    const { clock, topic } = this.#options
    const appends = [...batch.values()].flat().map(({ append }) => append)
    const late = this.#isClosing ? appends : appends.filter(({ deadlineMs }) => clock() >= deadlineMs)
    for (const append of late)
      append.fail(
        new FreshetError('log-unavailable', `${topic} took no append in time: ${failure.message}`, { cause: failure }),
      )
    if (appends.every(({ isSettled }) => isSettled)) return this.#giveUp(batch, failure)
    await sleep(retryAfterMs)
  }

  #giveUp(batch: Batch, failure: FreshetError): void {
    for (const { append, bytes } of [...batch.values()].flat()) {
      append.fail(failure)
      this.#options.onSettled(bytes)
    }
    batch.clear()
  }

  async #topicExists(): Promise<boolean> {
    // An outage that hides the topic is no proof that it is gone.
    return this.#options.topicExists().catch(() => true)
  }

  async #connect(): Promise<Producer> {
    const producer = this.#options.kafka.producer({
      idempotent: true,
      maxInFlightRequests: 1,
      allowAutoTopicCreation: false,
      retry: sendRetry,
      createPartitioner:
        () =>
        ({ message }) =>
          message.partition!,
    })
    try {
      await producer.connect()
      return producer
    } catch (thrown) {
      this.#disconnect(producer)
      throw thrown
    }
  }

  #replaceProducer(): void {
    const producer = this.#producer
    this.#producer = null
    void producer?.then(
      connected => this.#disconnect(connected),
      () => undefined,
    )
  }

  #disconnect(producer: Producer): void {
    const leaving = producer.disconnect().catch(() => undefined)
    this.#leaving.add(leaving)
    void leaving.then(() => this.#leaving.delete(leaving))
  }
}

/** How many from the head go into one batch; at least one. */
function fitting(queue: readonly QueuedRecords[], { maxRecords, maxBytes }: BatchBounds): number {
  let records = 0
  let bytes = 0
  const over = queue.findIndex(queued => {
    records += queued.messages.length
    bytes += queued.bytes
    return records > maxRecords || bytes > maxBytes
  })
  return over === -1 ? queue.length : Math.max(1, over)
}
