import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, asPartition, type Offset, type Partition } from '../../schemas/ids.ts'
import type {
  AppendedRecord,
  EventLog,
  LogReader,
  LogRecord,
  NewRecord,
  ReaderOptions,
  TopicSpec,
} from '../../topologies/event-log.ts'

/** Offsets grow; there are gaps where `compact` took records away. */
interface StoredPartition {
  records: LogRecord[]
  start: number
  end: number
}

interface StoredTopic {
  spec: TopicSpec
  readonly partitions: readonly StoredPartition[]
  readonly committed: Map<string, Map<Partition, Offset>>
  readonly onAppend: Set<() => void>
  isDeleted?: true
}

/** Storage of an event log that lives as long as the test: shards are opened and killed on it hundreds of times. */
export class InMemoryLogStorage {
  readonly maxRecordBytes = 2 ** 20
  readonly topics = new Map<string, StoredTopic>()
  nowMs = 1_000_000

  open(): EventLog {
    return new InMemoryLog(this)
  }

  /** @throws FreshetError `topic-missing` */
  topic(name: string): StoredTopic {
    const topic = this.topics.get(name)
    if (topic === undefined) throw new FreshetError('topic-missing', `there is no topic ${name}`)
    return topic
  }

  /** Log compaction at once: keeps the last record of each key, without null values. Returns how many went. */
  compact(name: string): number {
    let removed = 0
    for (const partition of this.topic(name).partitions) {
      const last = new Map(partition.records.map(record => [keyText(record), record.offset]))
      const kept = partition.records.filter(
        record => record.key === null || (record.value !== null && last.get(keyText(record)) === record.offset),
      )
      removed += partition.records.length - kept.length
      partition.records = kept
    }
    return removed
  }

  /** Retention: readers cannot begin below `start` any more. */
  removeBefore(name: string, starts: ReadonlyMap<Partition, number>): void {
    const { partitions } = this.topic(name)
    for (const [index, start] of starts) {
      const partition = partitions[index]!
      partition.start = start
      partition.records = partition.records.filter(({ offset }) => offset >= start)
    }
  }
}

/** `EventLog` without disk. Appends are readable at once. */
class InMemoryLog implements EventLog {
  readonly #storage: InMemoryLogStorage
  readonly #readers = new Set<LogReader>()

  constructor(storage: InMemoryLogStorage) {
    this.#storage = storage
  }

  async ensureTopic(spec: TopicSpec): Promise<void> {
    const existing = this.#storage.topics.get(spec.name)
    if (existing === undefined) {
      const partitions = Array.from({ length: spec.partitions }, () => ({ records: [], start: 0, end: 0 }))
      this.#storage.topics.set(spec.name, { spec, partitions, committed: new Map(), onAppend: new Set() })
    } else if (existing.spec.partitions !== spec.partitions || existing.spec.compacted !== spec.compacted)
      throw new FreshetError('topic-mismatch', `topic ${spec.name} exists with other settings`)
    else existing.spec = spec
  }

  async deleteTopic(topic: string): Promise<void> {
    const deleted = this.#storage.topics.get(topic)
    if (deleted === undefined) return
    this.#storage.topics.delete(topic)
    deleted.isDeleted = true
    for (const wake of [...deleted.onAppend]) wake()
  }

  async topicSpec(topic: string): Promise<TopicSpec | null> {
    return this.#storage.topics.get(topic)?.spec ?? null
  }

  async partitionCount(topic: string): Promise<number> {
    return this.#storage.topic(topic).partitions.length
  }

  async append(name: string, records: readonly NewRecord[]): Promise<readonly AppendedRecord[]> {
    const topic = this.#storage.topic(name)
    for (const record of records)
      if (bytesOf(record) > this.#storage.maxRecordBytes)
        throw new FreshetError('record-too-large', `a record of ${bytesOf(record)} bytes`)
    const appended = records.map(({ partition: index, key, value, headers = {} }) => {
      const partition = topic.partitions[index]!
      const at = { partition: index, offset: asOffset(partition.end++), appendTimeMs: this.#storage.nowMs }
      partition.records.push({ topic: name, ...at, key, value, headers })
      return at
    })
    for (const wake of [...topic.onAppend]) wake()
    return appended
  }

  async offsets(topic: string): Promise<ReadonlyMap<Partition, { readonly start: Offset; readonly end: Offset }>> {
    const { partitions } = this.#storage.topic(topic)
    return new Map(
      partitions.map(({ start, end }, index) => [asPartition(index), { start: asOffset(start), end: asOffset(end) }]),
    )
  }

  async openReader(options: ReaderOptions): Promise<LogReader> {
    const topic = this.#storage.topic(options.topic)
    const given = options.from === 'committed' ? await this.committed(options.group ?? '', options.topic) : options.from
    const partitions =
      options.partitions === 'group' ? topic.partitions.map((_, index) => asPartition(index)) : options.partitions
    const positions = new Map(
      partitions.map(index => {
        const { start, end } = topic.partitions[index]!
        const position = given.get(index) ?? asOffset(start)
        if (position > end || position < start)
          throw new FreshetError('offset-out-of-range', `partition ${index} holds ${start} to ${end}, not ${position}`)
        return [index, position]
      }),
    )
    const reader = new InMemoryReader(topic, positions, options.group)
    this.#readers.add(reader)
    return reader
  }

  async committed(group: string, topic: string): Promise<ReadonlyMap<Partition, Offset>> {
    return new Map(this.#storage.topic(topic).committed.get(group))
  }

  async close(): Promise<void> {
    for (const reader of this.#readers) await reader.close()
  }
}

class InMemoryReader implements LogReader {
  readonly #topic: StoredTopic
  readonly #group: string | undefined
  readonly #positions: Map<Partition, Offset>
  readonly #paused = new Set<Partition>()
  #first = 0
  #isClosed = false
  #wake: (() => void) | null = null
  readonly #onAppend = (): void => {
    if (this.#topic.isDeleted || this.#hasUnread()) this.#wake?.()
  }

  constructor(topic: StoredTopic, positions: Map<Partition, Offset>, group: string | undefined) {
    this.#topic = topic
    this.#positions = positions
    this.#group = group
    topic.onAppend.add(this.#onAppend)
  }

  async poll(maxRecords: number, waitMs: number): Promise<readonly LogRecord[]> {
    // Always a turn of the event loop, so that a caller that is behind lets others at their work.
    await new Promise(resolve => setImmediate(resolve))
    if (!this.#hasUnread() && waitMs > 0 && !this.#isClosed) await this.#wait(waitMs)
    if (this.#topic.isDeleted && !this.#isClosed) throw new FreshetError('topic-missing', 'the topic was deleted')
    return this.#isClosed ? [] : this.#read(maxRecords)
  }

  assignment(): { readonly epoch: number; readonly partitions: readonly Partition[] } {
    return { epoch: 1, partitions: [...this.#positions.keys()] }
  }

  pause(partitions: readonly Partition[]): void {
    for (const partition of partitions) this.#paused.add(partition)
  }

  resume(partitions: readonly Partition[]): void {
    for (const partition of partitions) this.#paused.delete(partition)
    this.#onAppend()
  }

  position(partition: Partition): Offset {
    return this.#positions.get(partition)!
  }

  async commit(offsets: ReadonlyMap<Partition, Offset>): Promise<void> {
    const { committed } = this.#topic
    if (this.#group === undefined) throw new FreshetError('bad-request', 'a reader without a group cannot commit')
    committed.set(this.#group, new Map([...(committed.get(this.#group) ?? []), ...offsets]))
  }

  async close(): Promise<void> {
    this.#isClosed = true
    this.#topic.onAppend.delete(this.#onAppend)
    this.#wake?.()
  }

  #wait(waitMs: number): Promise<void> {
    return new Promise(resolve => {
      const wake = (): void => {
        clearTimeout(timer)
        this.#wake = null
        resolve()
      }
      const timer = setTimeout(wake, waitMs)
      this.#wake = wake
    })
  }

  #hasUnread(): boolean {
    return [...this.#positions].some(
      ([partition, position]) => !this.#paused.has(partition) && position < this.#topic.partitions[partition]!.end,
    )
  }

  /** Begins with another partition each time, so that none starves. */
  #read(maxRecords: number): LogRecord[] {
    const partitions = [...this.#positions.keys()]
    const found: LogRecord[] = []
    for (let tried = 0; tried < partitions.length && found.length < maxRecords; tried++) {
      const partition = partitions[this.#first++ % partitions.length]!
      if (this.#paused.has(partition)) continue
      const { records, end } = this.#topic.partitions[partition]!
      const from = indexOf(records, this.#positions.get(partition)!)
      const read = records.slice(from, from + maxRecords - found.length)
      const isAll = from + read.length === records.length
      this.#positions.set(partition, asOffset(isAll ? end : read.at(-1)!.offset + 1))
      found.push(...read)
    }
    return found
  }
}

/** Index of the first record at or after the offset. */
function indexOf(records: readonly LogRecord[], offset: number): number {
  let low = 0
  let high = records.length
  while (low < high) {
    const middle = (low + high) >> 1
    if (records[middle]!.offset < offset) low = middle + 1
    else high = middle
  }
  return low
}

function bytesOf({ key, value, headers }: NewRecord): number {
  return (key?.length ?? 0) + (value?.length ?? 0) + Buffer.byteLength(JSON.stringify(headers ?? {}))
}

function keyText({ key }: LogRecord): string {
  return Buffer.from(key ?? []).toString()
}
