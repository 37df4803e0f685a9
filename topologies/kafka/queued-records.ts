import type { Message, RecordMetadata } from 'kafkajs'
import type { FreshetError } from '../../schemas/errors.ts'
import { asOffset, type Partition } from '../../schemas/ids.ts'
import type { AppendedRecord, NewRecord } from '../event-log.ts'

/** Of one record on the wire beside key, value and headers, generously. */
const recordOverheadBytes = 32
const headerOverheadBytes = 10

/** One call of `append`: done when all its records are. */
export class PendingAppend {
  readonly deadlineMs: number
  readonly #appended: AppendedRecord[]
  readonly #settled = Promise.withResolvers<readonly AppendedRecord[]>()
  #missing: number
  #isSettled = false

  constructor(records: number, deadlineMs: number) {
    this.#missing = records
    this.#appended = new Array<AppendedRecord>(records)
    this.deadlineMs = deadlineMs
  }

  get settled(): Promise<readonly AppendedRecord[]> {
    return this.#settled.promise
  }

  get isSettled(): boolean {
    return this.#isSettled
  }

  done(index: number, appended: AppendedRecord): void {
    this.#appended[index] = appended
    if (--this.#missing > 0) return
    this.#isSettled = true
    this.#settled.resolve(this.#appended)
  }

  fail(failure: FreshetError): void {
    this.#isSettled = true
    this.#settled.reject(failure)
  }
}

/** Records of one append for one partition, as they go to the broker; few enough for one batch. */
export interface QueuedRecords {
  readonly append: PendingAppend
  readonly partition: Partition
  readonly messages: readonly Message[]
  /** Where each of them stands in the call. */
  readonly indexes: readonly number[]
  readonly bytes: number
}

export function bytesOf({ key, value, headers = {} }: NewRecord): number {
  let bytes = recordOverheadBytes + (key?.length ?? 0) + (value?.length ?? 0)
  for (const [name, header] of Object.entries(headers))
    bytes += headerOverheadBytes + Buffer.byteLength(name) + Buffer.byteLength(header)
  return bytes
}

export interface BatchBounds {
  readonly maxRecords: number
  readonly maxBytes: number
}

/** The records by partition, in order, cut where a batch would become too large. */
export function queuedRecords(
  append: PendingAppend,
  records: readonly NewRecord[],
  bounds: BatchBounds,
  nowMs: number,
): readonly QueuedRecords[] {
  const queued: QueuedRecords[] = []
  const open = new Map<Partition, { messages: Message[]; indexes: number[]; bytes: number }>()
  const close = (partition: Partition): void => {
    const full = open.get(partition)
    if (full !== undefined) queued.push({ append, partition, ...full })
    open.delete(partition)
  }
  for (const [index, record] of records.entries()) {
    const bytes = bytesOf(record)
    const current = open.get(record.partition)
    if (current && (current.messages.length >= bounds.maxRecords || current.bytes + bytes > bounds.maxBytes))
      close(record.partition)
    const batch = open.get(record.partition) ?? { messages: [], indexes: [], bytes: 0 }
    open.set(record.partition, batch)
    batch.messages.push(messageOf(record, nowMs))
    batch.indexes.push(index)
    batch.bytes += bytes
  }
  for (const partition of [...open.keys()]) close(partition)
  return queued
}

/** Tells the appends of one partition's batch where their records lie. */
export function settleBatch(batch: readonly QueuedRecords[], metadata: RecordMetadata, nowMs: number): void {
  const logAppendTimeMs = Number(metadata.logAppendTime ?? -1)
  let offset = Number(metadata.baseOffset)
  for (const { append, partition, messages, indexes } of batch)
    for (const [i, { timestamp }] of messages.entries()) {
      // A topic that keeps the producer's times answers -1; ours was sent along.
      const appendTimeMs = logAppendTimeMs >= 0 ? logAppendTimeMs : Number(timestamp ?? nowMs)
      append.done(indexes[i]!, { partition, offset: asOffset(offset++), appendTimeMs })
    }
}

function messageOf({ partition, key, value, headers }: NewRecord, nowMs: number): Message {
  return {
    partition,
    key: asBuffer(key),
    value: asBuffer(value),
    timestamp: `${nowMs}`,
    ...(headers === undefined ? {} : { headers: { ...headers } }),
  }
}

/** The same bytes. */
function asBuffer(bytes: Uint8Array | null): Buffer | null {
  return bytes === null ? null : Buffer.from(bytes.buffer, bytes.byteOffset, bytes.byteLength)
}
