import { asOffset, type Offset, type Partition } from '../../schemas/ids.ts'
import type { LogRecord } from '../event-log.ts'

/** One partition of a fetch answer as kafkajs decodes it (untyped there). Numbers of 64 bits are decimal strings. */
export interface FetchedPartition {
  readonly partition: number
  /** End of what is committed: records of open transactions lie beyond. */
  readonly lastStableOffset: string
  readonly abortedTransactions: readonly { readonly producerId: string; readonly firstOffset: string }[] | null
  readonly messages: readonly FetchedMessage[]
}

export interface FetchedMessage {
  readonly offset: string
  readonly timestamp: string
  readonly key: Buffer | null
  readonly value: Buffer | null
  readonly headers?: Readonly<Record<string, Buffer | null | readonly (Buffer | null)[]>>
  readonly isControlRecord?: boolean
  /** Missing for the formats before Kafka 0.11. */
  readonly batchContext?: {
    readonly firstOffset: string
    readonly lastOffsetDelta: number
    readonly producerId: string
    readonly inTransaction: boolean
  }
}

export interface ReadableRecords {
  readonly records: readonly LogRecord[]
  /** Where to fetch next: beyond the batches seen, also beyond what log compaction took from their ends. */
  readonly next: Offset
}

/** Records at or after `from`, without those of aborted transactions and without the markers that end transactions. */
export function readableRecords(topic: string, fetched: FetchedPartition, from: Offset): ReadableRecords {
  const { messages } = fetched
  const last = messages.at(-1)
  if (last === undefined) return { records: [], next: from }
  const isAborted = abortedOf(fetched)
  const records: LogRecord[] = []
  // A compressed batch is answered whole, even if the position lies in its middle.
  for (const message of messages)
    if (!isAborted(message) && !message.isControlRecord && Number(message.offset) >= from)
      records.push(logRecord(topic, fetched.partition as Partition, message))
  return { records, next: asOffset(Math.max(from, endOfBatch(last))) }
}

function endOfBatch({ offset, batchContext }: FetchedMessage): number {
  return (
    1 + (batchContext === undefined ? Number(offset) : Number(batchContext.firstOffset) + batchContext.lastOffsetDelta)
  )
}

/**
 * An aborted transaction lasts from its first offset to its producer's next marker. To be asked in order of offsets.
 * Source: Kafka's Fetcher, https://kafka.apache.org/documentation/#controlbatch
 */
function abortedOf({ abortedTransactions }: FetchedPartition): (message: FetchedMessage) => boolean {
  if (abortedTransactions === null || abortedTransactions.length === 0) return () => false
  const begins = abortedTransactions.toSorted((a, b) => Number(a.firstOffset) - Number(b.firstOffset))
  const aborting = new Set<string>()
  return ({ offset, isControlRecord, batchContext }) => {
    while (begins.length > 0 && Number(begins[0]!.firstOffset) <= Number(offset))
      aborting.add(begins.shift()!.producerId)
    if (batchContext === undefined) return false
    if (isControlRecord) aborting.delete(batchContext.producerId)
    return batchContext.inTransaction && aborting.has(batchContext.producerId)
  }
}

function logRecord(topic: string, partition: Partition, message: FetchedMessage): LogRecord {
  const { offset, timestamp, key, value, headers = noHeaders } = message
  return {
    topic,
    partition,
    offset: asOffset(Number(offset)),
    appendTimeMs: Number(timestamp),
    key,
    value,
    headers: headersOf(headers),
  }
}

const noHeaders = {}

/** Of most records none. */
function headersOf(headers: NonNullable<FetchedMessage['headers']>): Readonly<Record<string, string>> {
  const entries = Object.entries(headers)
  if (entries.length === 0) return noHeaders
  return Object.fromEntries(entries.map(([name, header]) => [name, headerText(header)]))
}

/** Of a header given several times the last counts. */
function headerText(header: Buffer | null | readonly (Buffer | null)[]): string {
  const last = Array.isArray(header) ? header.at(-1) : (header as Buffer | null)
  return last?.toString('utf8') ?? ''
}
