import { FreshetError } from '../../schemas/errors.ts'
import type { Partition } from '../../schemas/ids.ts'
import type { AppendedRecord, NewRecord } from '../event-log.ts'
import type { ByteBudget } from './byte-budget.ts'
import { type LaneOptions, ProducerLane } from './producer-lane.ts'
import { bytesOf, PendingAppend, queuedRecords } from './queued-records.ts'

export interface AppenderOptions extends Omit<LaneOptions, 'bounds' | 'onSettled'> {
  /** Shared by all topics of the log. */
  readonly budget: ByteBudget
  readonly maxRecordBytes: number
  readonly patienceMs: number
  readonly lanes: number
}

/** kafkajs copies a partition's records once for each of them when it groups them. */
const maxBatchRecords = 500

/** Appends to one topic. A partition belongs to one lane, so its order is that of the calls. */
export class TopicAppender {
  readonly #options: AppenderOptions
  readonly #lanes = new Map<number, ProducerLane>()

  constructor(options: AppenderOptions) {
    this.#options = options
  }

  /** @throws FreshetError `record-too-large` for the whole call, before anything is sent */
  async append(records: readonly NewRecord[]): Promise<readonly AppendedRecord[]> {
    const { budget, clock, patienceMs, maxRecordBytes, topic } = this.#options
    const append = new PendingAppend(records.length, clock() + patienceMs)
    const sizes = records.map(bytesOf)
    const largest = Math.max(...sizes)
    if (largest > maxRecordBytes)
      throw new FreshetError(
        'record-too-large',
        `a record of ${largest} bytes for ${topic}; ${maxRecordBytes} is the limit`,
      )
    const bytes = sizes.reduce((sum, size) => sum + size, 0)
    await budget.take(bytes)
    if (clock() > append.deadlineMs) {
      budget.giveBack(bytes)
      throw new FreshetError('log-unavailable', `too much waits to be appended to ${topic}`)
    }
    const bounds = { maxRecords: maxBatchRecords, maxBytes: maxRecordBytes }
    for (const queued of queuedRecords(append, records, bounds, clock())) this.#lane(queued.partition).append(queued)
    return append.settled
  }

  async close(): Promise<void> {
    await Promise.all([...this.#lanes.values()].map(lane => lane.close()))
  }

  #lane(partition: Partition): ProducerLane {
    const index = partition % this.#options.lanes
    const existing = this.#lanes.get(index)
    if (existing !== undefined) return existing
    const { budget, maxRecordBytes } = this.#options
    const lane = new ProducerLane({
      ...this.#options,
      bounds: { maxRecords: maxBatchRecords, maxBytes: maxRecordBytes },
      onSettled: bytes => budget.giveBack(bytes),
    })
    this.#lanes.set(index, lane)
    return lane
  }
}
