import { setImmediate as nextTick } from 'node:timers/promises'
import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, type Offset, type Partition } from '../../schemas/ids.ts'
import type { LogReader, LogRecord } from '../event-log.ts'
import { News } from '../news.ts'
import type { GroupMember } from './embedded-group.ts'
import type { EmbeddedEnvironment } from './environment.ts'
import { decodeRecord, groupKey, offsetOfKey, recordKey, u48 } from './record-layout.ts'
import type { TopicState } from './topic-state.ts'

export interface ReaderStart {
  /** Where reading of a partition begins. @throws FreshetError `offset-out-of-range` */
  readonly positionOf: (partition: Partition) => Offset
  readonly group: string | undefined
  readonly onClose: () => void
}

/** One poll ends after this many bytes of records, so that large records cannot fill the memory. */
const maxPollBytes = 16 * 2 ** 20

/**
 * Reads up to the durable end of its partitions, woken by appends. A poll starts where the one before stopped among
 * the partitions, so that none starves.
 */
export class EmbeddedLogReader implements LogReader, GroupMember {
  readonly #environment: EmbeddedEnvironment
  readonly #topic: TopicState
  readonly #group: string | undefined
  readonly #onClose: () => void
  readonly #positionOf: (partition: Partition) => Offset
  #partitions: readonly Partition[] = []
  #positions = new Map<Partition, Offset>()
  #epoch = 0
  /** By the group, and not taken over by a poll yet. */
  #assigned: readonly Partition[] | null = null
  readonly #paused = new Set<Partition>()
  #nextPartition = 0
  #hadRecords = false
  #isClosed = false
  #isTopicGone = false
  readonly #news = new News()
  readonly #onAppend = () => {
    if (this.#news.isAwaited && this.#hasUnread()) this.#news.tell()
  }

  constructor(environment: EmbeddedEnvironment, topic: TopicState, start: ReaderStart) {
    this.#environment = environment
    this.#topic = topic
    this.#group = start.group
    this.#onClose = start.onClose
    this.#positionOf = start.positionOf
    topic.listeners.add(this.#onAppend)
  }

  get topic(): TopicState {
    return this.#topic
  }

  /** The topic was deleted. */
  endWithTopic(): void {
    this.#isTopicGone = true
    this.#news.tell()
  }

  /** These are its partitions from the next `takeOver` on, which each poll does. */
  assign(partitions: readonly Partition[]): void {
    this.#assigned = partitions
    this.#news.tell()
  }

  /** Begins with what was assigned; false when there is nothing new. @throws FreshetError `offset-out-of-range` */
  takeOver(): boolean {
    if (this.#assigned === null) return false
    this.#positions = new Map(this.#assigned.map(partition => [partition, this.#positionOf(partition)]))
    this.#partitions = this.#assigned
    this.#assigned = null
    this.#paused.clear()
    this.#nextPartition = 0
    this.#epoch++
    return true
  }

  async poll(maxRecords: number, waitMs: number): Promise<readonly LogRecord[]> {
    // A caller that is behind would otherwise loop in microtasks alone and keep timers, sockets and commits waiting.
    if (this.#hadRecords || this.#isClosed) await nextTick()
    const isToWait = !this.#hasUnread() && this.#assigned === null && !this.#isClosed && !this.#isTopicGone
    if (isToWait) await this.#news.wait(waitMs)
    if (this.#isTopicGone && !this.#isClosed)
      throw new FreshetError('topic-missing', `the topic ${this.#topic.spec.name} was deleted`)
    if (this.takeOver()) return []
    const records = this.#isClosed ? [] : this.#read(maxRecords)
    this.#hadRecords = records.length > 0
    return records
  }

  assignment(): { readonly epoch: number; readonly partitions: readonly Partition[] } {
    return { epoch: this.#epoch, partitions: this.#partitions }
  }

  pause(partitions: readonly Partition[]): void {
    for (const partition of partitions) this.#paused.add(partition)
  }

  resume(partitions: readonly Partition[]): void {
    for (const partition of partitions) this.#paused.delete(partition)
    this.#onAppend()
  }

  position(partition: Partition): Offset {
    const position = this.#positions.get(partition)
    if (position === undefined)
      throw new FreshetError('misrouted', `partition ${partition} of ${this.#topic.spec.name} is not assigned here`)
    return position
  }

  async commit(offsets: ReadonlyMap<Partition, Offset>): Promise<void> {
    const group = this.#group
    if (group === undefined) throw new FreshetError('bad-request', 'a reader without a group cannot commit')
    // Some may be another reader's by now. What is left out will be read again.
    if (this.#assigned !== null || this.#isClosed) return
    await this.#environment.write(
      batch => {
        for (const [partition, offset] of offsets)
          batch.put('groupOffsets', groupKey(this.#topic.id, group, partition), u48(offset))
      },
      { reclaims: true },
    )
  }

  async close(): Promise<void> {
    if (this.#isClosed) return
    this.#isClosed = true
    this.#topic.listeners.delete(this.#onAppend)
    this.#onClose()
    this.#news.tell()
  }

  #hasUnread(): boolean {
    return this.#partitions.some(partition => this.#isUnread(partition))
  }

  #isUnread(partition: Partition): boolean {
    return !this.#paused.has(partition) && this.#positions.get(partition)! < this.#topic.progress[partition]!.end
  }

  #read(maxRecords: number): readonly LogRecord[] {
    const records: LogRecord[] = []
    let bytes = 0
    for (let tried = 0; tried < this.#partitions.length; tried++) {
      if (records.length >= maxRecords || bytes >= maxPollBytes) break
      const partition = this.#partitions[this.#nextPartition]!
      this.#nextPartition = (this.#nextPartition + 1) % this.#partitions.length
      if (this.#isUnread(partition)) bytes += this.#readPartition(partition, maxRecords, maxPollBytes - bytes, records)
    }
    return records
  }

  /** Returns the bytes read, which pass `maxBytes` by at most one record. */
  #readPartition(partition: Partition, maxRecords: number, maxBytes: number, into: LogRecord[]): number {
    const { id, spec, progress } = this.#topic
    const { end } = progress[partition]!
    const rows = this.#environment.range('records', {
      start: recordKey(id, partition, this.#positions.get(partition)!),
      end: recordKey(id, partition, end),
    })
    let bytes = 0
    for (const { key, value } of rows) {
      const offset = offsetOfKey(key)
      into.push(decodeRecord(spec.name, partition, offset, value))
      bytes += value.length
      this.#positions.set(partition, asOffset(offset + 1))
      if (into.length >= maxRecords || bytes >= maxBytes) return bytes
    }
    // The rest up to the end was compacted away.
    this.#positions.set(partition, end)
    return bytes
  }
}
