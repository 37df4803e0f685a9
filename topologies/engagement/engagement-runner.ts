import { setTimeout as delay } from 'node:timers/promises'
import type { EngagementRecord } from '../../schemas/engagement.ts'
import { asFreshetError, type FreshetError } from '../../schemas/errors.ts'
import type { Offset, Partition } from '../../schemas/ids.ts'
import { engagementHalfLifeMs, engagementKey, storedEngagement } from '../../schemas/item-engagement.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { engagementTopic } from '../../schemas/topics.ts'
import type { EventLog, LogReader, LogRecord } from '../event-log.ts'
import type { FeaturePart, FeatureStore } from '../feature-store.ts'
import {
  defaultEngagementLimits,
  type EngagementLimits,
  type EngagementState,
  engagementStep,
  newEngagementState,
} from './engagement-step.ts'

export interface EngagementPorts {
  readonly log: Pick<EventLog, 'openReader' | 'offsets'>
  readonly codec: RecordCodec<EngagementRecord>
  readonly features: Pick<FeatureStore, 'putParts'>
}

export interface EngagementRunnerOptions {
  /** Those given, or those that the consumer group `freshet-engagement` gives to this process. */
  readonly partitions: readonly Partition[] | 'group'
  /** Told when reading or writing begins to fail, not again until it has worked. It goes on by itself. */
  readonly onTrouble: (error: FreshetError) => void
  readonly limits?: EngagementLimits
  /** Between writes to the feature store. */
  readonly flushMs?: number
}

export interface EngagementStatus {
  /** Partitions whose past is read. */
  readonly current: number
  readonly assigned: number
  readonly items: number
  /** Since the start of this process. */
  readonly counts: {
    readonly shown: number
    readonly engaged: number
    readonly refused: number
    readonly written: number
  }
  /** Why it waits now; null when it does not. */
  readonly trouble: FreshetError | null
}

const group = 'freshet-engagement'
const batchRecords = 1_000
const defaultFlushMs = 500
/** Keys written at once. */
const chunk = 2_000
/** Items written again with each flush though nothing happened: what the store has lost comes back by itself. */
const sweptPerFlush = 256
const ttlMs = 4 * engagementHalfLifeMs
const pauseMs = 500
const stopWithinMs = 2_000

interface Reading {
  readonly state: EngagementState
  /** End of the partition when it was assigned: until that is reached its numbers are not whole, and not written. */
  readonly until: Offset
  readonly dirty: Set<string>
  sweep: Iterator<string>
}

/**
 * Keeps the engagement of items in the feature store: reads `freshet.engagement` from its start, passes it through the
 * step, and writes the numbers of each partition as a part of their own under each item's key. It keeps no position:
 * whoever takes over a partition reads all that the topic has of it and comes to the same numbers, so that nothing has
 * to be fenced or committed, and a store that lost everything is filled again.
 */
export class EngagementRunner {
  readonly #ports: EngagementPorts
  readonly #options: Required<EngagementRunnerOptions>
  readonly #closing = new AbortController()
  readonly #partitions = new Map<Partition, Reading>()
  readonly #counts = { shown: 0, engaged: 0, refused: 0, written: 0 }
  #reader: LogReader | null = null
  #epoch = -1
  #flushedAt = performance.now()
  #trouble: FreshetError | null = null
  #running: Promise<void> = Promise.resolve()

  constructor(ports: EngagementPorts, options: EngagementRunnerOptions) {
    this.#ports = ports
    this.#options = { limits: defaultEngagementLimits, flushMs: defaultFlushMs, ...options }
  }

  /** Once. Begins in the background; what fails is tried again. */
  start(): void {
    this.#running = this.#run()
  }

  /** Leaves the group, writes what is counted. Repeatable. */
  async stop(): Promise<void> {
    this.#closing.abort()
    const stopped = Promise.all([this.#reader?.close(), this.#running])
    // Joining a group or writing may hang with its server; nothing is lost that is not read again.
    await Promise.race([stopped, delay(stopWithinMs, undefined, { ref: false })])
  }

  status(): EngagementStatus {
    const readings = [...this.#partitions]
    return {
      current: readings.filter(([partition, reading]) => this.#isCurrent(partition, reading)).length,
      assigned: readings.length,
      items: readings.reduce((sum, [, { state }]) => sum + state.items.size, 0),
      counts: { ...this.#counts },
      trouble: this.#trouble,
    }
  }

  async #run(): Promise<void> {
    while (!this.#closing.signal.aborted) {
      try {
        this.#reader ??= await this.#open()
        await this.#turn(this.#reader)
        this.#trouble = null
      } catch (thrown) {
        await this.#waitOut(asFreshetError(thrown))
      }
    }
    // What is not written now is when somebody reads the topic again.
    await this.#flush().catch(() => undefined)
  }

  async #open(): Promise<LogReader> {
    const { partitions } = this.#options
    this.#epoch = -1
    const reader = await this.#ports.log.openReader({
      topic: engagementTopic,
      partitions,
      // Nothing is ever committed: a group begins at the start too.
      ...(partitions === 'group' ? { group, from: 'committed' } : { from: new Map() }),
    })
    if (this.#closing.signal.aborted) await reader.close()
    return reader
  }

  async #turn(reader: LogReader): Promise<void> {
    await this.#notice(reader)
    const dueMs = this.#flushedAt + this.#options.flushMs - performance.now()
    const records = await reader.poll(batchRecords, Math.max(0, dueMs))
    if (reader.assignment().epoch !== this.#epoch) return
    for (const record of records) await this.#apply(record)
    if (performance.now() >= this.#flushedAt + this.#options.flushMs) await this.#flush()
  }

  /** With a new assignment every partition is delivered from its start again. */
  async #notice(reader: LogReader): Promise<void> {
    const { epoch, partitions } = reader.assignment()
    if (epoch === this.#epoch) return
    const ends = await this.#ports.log.offsets(engagementTopic)
    this.#partitions.clear()
    for (const partition of partitions)
      this.#partitions.set(partition, newReading(this.#options.limits, ends.get(partition)?.end ?? (0 as Offset)))
    this.#epoch = epoch
  }

  async #apply({ partition, value, appendTimeMs }: LogRecord): Promise<void> {
    const reading = this.#partitions.get(partition)
    if (value === null || reading === undefined) return
    const record = await this.#decoded(value)
    if (record === null) return
    this.#counts[record.type === 'ResultsShown' ? 'shown' : 'engaged']++
    for (const itemId of engagementStep(reading.state, record, appendTimeMs)) reading.dirty.add(itemId)
  }

  /** Null for what is no record of this topic: one reader's bad luck is not the others'. */
  async #decoded(value: Uint8Array): Promise<EngagementRecord | null> {
    for (;;) {
      try {
        return this.#ports.codec.decode(value)
      } catch (thrown) {
        if (asFreshetError(thrown).code === 'schema-unknown' && (await this.#learnt(value))) continue
        this.#counts.refused++
        return null
      }
    }
  }

  async #learnt(value: Uint8Array): Promise<boolean> {
    for (;;) {
      try {
        await this.#ports.codec.learn(value)
        return true
      } catch (thrown) {
        const error = asFreshetError(thrown)
        if (!error.retryable || this.#closing.signal.aborted) return false
        await this.#waitOut(error)
      }
    }
  }

  /** Writes what has changed, and a little of what has not. What could not be written stays to be written. */
  async #flush(): Promise<void> {
    this.#flushedAt = performance.now()
    for (const [partition, reading] of this.#partitions) {
      if (!this.#isCurrent(partition, reading)) continue
      for (const itemId of swept(reading)) reading.dirty.add(itemId)
      await this.#write(partition, reading)
    }
  }

  async #write(partition: Partition, { state, dirty }: Reading): Promise<void> {
    while (dirty.size > 0) {
      const itemIds = [...dirty].slice(0, chunk)
      const parts = itemIds.map(
        (itemId): FeaturePart => ({
          key: engagementKey(itemId),
          part: String(partition),
          values: storedEngagement(state.items.get(itemId)!),
        }),
      )
      await this.#ports.features.putParts(parts, ttlMs)
      this.#counts.written += itemIds.length
      for (const itemId of itemIds) dirty.delete(itemId)
    }
  }

  #isCurrent(partition: Partition, { until }: Reading): boolean {
    return this.#reader !== null && this.#reader.position(partition) >= until
  }

  async #waitOut(error: FreshetError): Promise<void> {
    const { signal } = this.#closing
    if (signal.aborted) return
    if (this.#trouble === null) this.#options.onTrouble(error)
    this.#trouble = error
    if (hasEnded(error)) {
      await this.#reader?.close()
      this.#reader = null
    }
    await delay(pauseMs, undefined, { signal, ref: false }).catch(() => undefined)
  }
}

/** The reader is of no use any more. */
function hasEnded({ code }: FreshetError): boolean {
  return code === 'offset-out-of-range' || code === 'topic-missing' || code === 'access-denied'
}

function newReading(limits: EngagementLimits, until: Offset): Reading {
  const state = newEngagementState(limits)
  return { state, until, dirty: new Set(), sweep: state.items.keys() }
}

/** The next few items in turn; from the first again after the last. */
function swept(reading: Reading): readonly string[] {
  const found: string[] = []
  while (found.length < sweptPerFlush) {
    const { done, value } = reading.sweep.next()
    if (done) {
      reading.sweep = reading.state.items.keys()
      break
    }
    found.push(value)
  }
  return found
}
