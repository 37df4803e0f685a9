import { asOffset, type Offset, type Partition } from '../../schemas/ids.ts'
import type { LogRecord } from '../event-log.ts'
import type { ReadableRecords } from './fetched-records.ts'

/** Rough cost of a record beside its key, value and headers. */
const recordOverheadBytes = 128

/** What was fetched of one partition and not yet delivered, and where to fetch next. */
export class ReadPartition {
  readonly partition: Partition
  isPaused = false
  /** A fetch of it is under way; a second one would deliver the same records twice. */
  isInFlight = false
  /** The end of the log as told by an answer that held no records although the log goes on; else null. */
  emptyUpTo: Offset | null = null
  /** Answers in sequence that the position is out of range. */
  outOfRangeAnswers = 0
  /** Since when it cannot be fetched; null when the last fetch succeeded. */
  failingSinceMs: number | null = null
  #next: Offset
  #records: LogRecord[] = []
  #delivered = 0
  #bytes = 0

  constructor(partition: Partition, position: Offset) {
    this.partition = partition
    this.#next = position
  }

  /** Where to fetch next. */
  get next(): Offset {
    return this.#next
  }

  /** The next offset that can be delivered. */
  get position(): Offset {
    return this.#records[this.#delivered]?.offset ?? this.#next
  }

  get bufferedRecords(): number {
    return this.#records.length - this.#delivered
  }

  get bufferedBytes(): number {
    return this.#bytes
  }

  add({ records, next }: ReadableRecords): void {
    this.#records = this.bufferedRecords === 0 ? [...records] : [...this.#records.slice(this.#delivered), ...records]
    this.#delivered = 0
    for (const record of records) this.#bytes += bytesOf(record)
    this.#next = next
  }

  /** There is nothing below. */
  passTo(offset: Offset): void {
    this.#next = asOffset(Math.max(this.#next, offset))
  }

  take(maxRecords: number, into: LogRecord[]): void {
    const end = Math.min(this.#records.length, this.#delivered + maxRecords)
    for (; this.#delivered < end; this.#delivered++) {
      const record = this.#records[this.#delivered]!
      this.#bytes -= bytesOf(record)
      into.push(record)
    }
    if (this.bufferedRecords > 0) return
    this.#records = []
    this.#delivered = 0
  }

  /** Gives the memory back; what was not delivered is fetched again. */
  discard(): void {
    this.#next = this.position
    this.#records = []
    this.#delivered = 0
    this.#bytes = 0
  }
}

function bytesOf({ key, value }: LogRecord): number {
  return recordOverheadBytes + (key?.length ?? 0) + (value?.length ?? 0)
}
