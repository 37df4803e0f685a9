import { isDeepStrictEqual } from 'node:util'
import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, type Offset, type Partition } from '../../schemas/ids.ts'
import type { AppendedRecord, EventLog, LogReader, NewRecord, ReaderOptions, TopicSpec } from '../event-log.ts'
import { EmbeddedGroup } from './embedded-group.ts'
import { EmbeddedLogReader } from './embedded-log-reader.ts'
import type { EmbeddedEnvironment } from './environment.ts'
import { LogCompaction } from './log-compaction.ts'
import {
  encodeRecords,
  groupKeyPrefix,
  offsetOfKey,
  partitionKey,
  partitionOfGroupKey,
  recordKey,
  setAppendTime,
} from './record-layout.ts'
import { removeTopicRows } from './topic-removal.ts'
import { loadProgress, newProgress, TopicState } from './topic-state.ts'
import type { WriteBatch } from './write-batch.ts'

/** Of the table `topics`. */
interface TopicRow {
  readonly id: number
  readonly spec: TopicSpec
  readonly isDeleted?: true
}

/** Largest record by default, with its key and headers. */
const defaultMaxRecordBytes = 8 * 2 ** 20

/**
 * EventLog on the embedded environment, for the one process that has it open. A record is readable once it is
 * durable, never before. Log compaction and retention run in the environment's upkeep.
 */
export class EmbeddedEventLog implements EventLog {
  readonly system = 'lmdb'
  readonly #environment: EmbeddedEnvironment
  readonly #maxRecordBytes: number
  readonly #topics = new Map<string, TopicState>()
  /** Ids of topics that were deleted, by name: their rows may not be gone. */
  readonly #deleted = new Map<string, number>()
  /** Ids of topics of all times. */
  #lastId = 0
  readonly #readers = new Set<EmbeddedLogReader>()
  readonly #groups = new Map<string, EmbeddedGroup>()
  readonly #detach: () => Promise<void>
  /** Topics are created and deleted one after the other. */
  #changing: Promise<void> = Promise.resolve()

  constructor(environment: EmbeddedEnvironment, options: { readonly maxRecordBytes?: number } = {}) {
    this.#environment = environment
    this.#maxRecordBytes = options.maxRecordBytes ?? defaultMaxRecordBytes
    for (const { key, value } of environment.range('topics', { start: Buffer.from([0]), end: Buffer.from([0xff]) })) {
      const { id, spec, isDeleted } = JSON.parse(value.toString()) as TopicRow
      this.#lastId = Math.max(this.#lastId, id)
      if (isDeleted) {
        this.#deleted.set(key.toString(), id)
        continue
      }
      const progress = Array.from({ length: spec.partitions }, (_, index) => loadProgress(environment, id, index))
      this.#topics.set(key.toString(), new TopicState(id, spec, progress))
    }
    this.#detach = environment.attach({
      table: 'records',
      upkeep: new LogCompaction(environment, () => [...this.#topics.values()]),
    })
  }

  ensureTopic(spec: TopicSpec): Promise<void> {
    return this.#change(() => this.#ensure(spec))
  }

  deleteTopic(topic: string): Promise<void> {
    return this.#change(() => this.#delete(topic))
  }

  async topicSpec(topic: string): Promise<TopicSpec | null> {
    return this.#topics.get(topic)?.spec ?? null
  }

  async partitionCount(topic: string): Promise<number> {
    return this.#topic(topic).partitions.length
  }

  async append(topic: string, records: readonly NewRecord[]): Promise<readonly AppendedRecord[]> {
    const state = this.#topic(topic)
    for (const { partition } of records) requirePartition(state, partition)
    if (records.length === 0) return []
    const rows = encodeRecords(records, this.#maxRecordBytes)
    return this.#environment.write(batch => this.#stageAppend(batch, state, records, rows))
  }

  async offsets(topic: string): Promise<ReadonlyMap<Partition, { readonly start: Offset; readonly end: Offset }>> {
    const state = this.#topic(topic)
    return new Map(
      state.partitions.map(partition => [
        partition,
        { start: this.#firstOffset(state, partition), end: state.progress[partition]!.end },
      ]),
    )
  }

  async openReader(options: ReaderOptions): Promise<LogReader> {
    const state = this.#topic(options.topic)
    if (options.group === undefined && (options.partitions === 'group' || options.from === 'committed'))
      throw new FreshetError('bad-request', 'a reader of a group, or from committed offsets, names its group')
    const { partitions, from, group = '' } = options
    const membership = partitions === 'group' ? this.#groupOf(state, group) : null
    const givenTo = (partition: Partition) =>
      from === 'committed' ? this.#committedOf(state, group).get(partition) : from.get(partition)
    const reader = new EmbeddedLogReader(this.#environment, state, {
      positionOf: partition => this.#startingPosition(state, partition, givenTo(partition)),
      group: options.group,
      onClose: () => {
        this.#readers.delete(reader)
        membership?.leave(reader)
      },
    })
    if (partitions !== 'group') reader.assign(partitions)
    else membership?.join(reader)
    try {
      reader.takeOver()
    } catch (thrown) {
      await reader.close()
      throw thrown
    }
    this.#readers.add(reader)
    return reader
  }

  async committed(group: string, topic: string): Promise<ReadonlyMap<Partition, Offset>> {
    return this.#committedOf(this.#topic(topic), group)
  }

  /** Closes the readers; the environment stays open. */
  async close(): Promise<void> {
    for (const reader of [...this.#readers]) await reader.close()
    await this.#detach()
  }

  #change(change: () => Promise<void>): Promise<void> {
    const changed = this.#changing.then(change)
    this.#changing = changed.catch(() => undefined)
    return changed
  }

  async #ensure(spec: TopicSpec): Promise<void> {
    const existing = this.#topics.get(spec.name)
    if (existing === undefined) await this.#createTopic(spec)
    else await this.#adopt(existing, spec)
  }

  async #createTopic(spec: TopicSpec): Promise<void> {
    const unfinished = this.#deleted.get(spec.name)
    if (unfinished !== undefined) await removeTopicRows(this.#environment, unfinished)
    const id = this.#lastId + 1
    await this.#storeRow({ id, spec })
    this.#lastId = id
    this.#deleted.delete(spec.name)
    this.#topics.set(spec.name, new TopicState(id, spec, newProgress(spec)))
  }

  /** Durations may change; what decides where records lie may not. */
  async #adopt(existing: TopicState, spec: TopicSpec): Promise<void> {
    const { partitions, compacted } = existing.spec
    if (partitions !== spec.partitions || compacted !== spec.compacted)
      throw new FreshetError('topic-mismatch', `topic ${spec.name} exists with other settings`, {
        details: {
          existing: { partitions, compacted },
          required: { partitions: spec.partitions, compacted: spec.compacted },
        },
      })
    if (isDeepStrictEqual(existing.spec, spec)) return
    await this.#storeRow({ id: existing.id, spec })
    existing.spec = spec
  }

  /**
   * From here on nobody finds the topic. Appends called before are stored before its row says that it is deleted, and
   * are removed with the rest.
   */
  async #delete(name: string): Promise<void> {
    const state = this.#topics.get(name)
    if (state !== undefined) {
      this.#topics.delete(name)
      try {
        await this.#storeRow({ id: state.id, spec: state.spec, isDeleted: true })
      } catch (thrown) {
        this.#topics.set(name, state)
        throw thrown
      }
      this.#deleted.set(name, state.id)
      for (const reader of this.#readers) if (reader.topic === state) reader.endWithTopic()
    }
    const id = this.#deleted.get(name)
    if (id !== undefined) await removeTopicRows(this.#environment, id)
  }

  async #storeRow(row: TopicRow): Promise<void> {
    const name = Buffer.from(row.spec.name)
    await this.#environment.write(batch => batch.put('topics', name, Buffer.from(JSON.stringify(row))))
  }

  #groupOf(state: TopicState, name: string): EmbeddedGroup {
    const key = `${state.id}/${name}`
    const group = this.#groups.get(key) ?? new EmbeddedGroup(state.partitions)
    this.#groups.set(key, group)
    return group
  }

  #committedOf({ id }: TopicState, group: string): ReadonlyMap<Partition, Offset> {
    const prefix = groupKeyPrefix(id, group)
    const rows = this.#environment.range('groupOffsets', {
      start: prefix,
      end: Buffer.concat([prefix, Buffer.from([0xff, 0xff, 0xff])]),
    })
    return new Map(
      Array.from(rows, ({ key, value }) => [partitionOfGroupKey(key), asOffset(value.readUIntBE(0, 6))] as const),
    )
  }

  #stageAppend(
    batch: WriteBatch,
    state: TopicState,
    records: readonly NewRecord[],
    rows: readonly Buffer[],
  ): readonly AppendedRecord[] {
    const now = this.#environment.clock()
    return records.map(({ partition }, index) => {
      const staged = state.stagedEnd(batch, partition)
      const offset = staged.end
      const appendTimeMs = Math.max(now, staged.lastAppendTimeMs)
      staged.end = asOffset(offset + 1)
      staged.lastAppendTimeMs = appendTimeMs
      const row = rows[index]!
      setAppendTime(row, appendTimeMs)
      batch.put('records', recordKey(state.id, partition, offset), row)
      return { partition, offset, appendTimeMs }
    })
  }

  #startingPosition(state: TopicState, partition: Partition, given: Offset | undefined): Offset {
    requirePartition(state, partition)
    const { start, end } = state.progress[partition]!
    if (given === undefined) return start
    const isBelow = given < start && !state.spec.compacted
    if (isBelow || given > end)
      throw new FreshetError(
        'offset-out-of-range',
        `offset ${given} of partition ${partition} of ${state.spec.name} lies outside ${start} to ${end}`,
        { details: { topic: state.spec.name, partition, offset: given, start, end } },
      )
    return given
  }

  #firstOffset(state: TopicState, partition: Partition): Offset {
    const { start, end } = state.progress[partition]!
    if (!state.spec.compacted) return start
    const [first] = this.#environment.range('records', {
      start: partitionKey(state.id, partition),
      end: recordKey(state.id, partition, end),
      limit: 1,
    })
    return first === undefined ? end : offsetOfKey(first.key)
  }

  /** @throws FreshetError `topic-missing` */
  #topic(name: string): TopicState {
    const state = this.#topics.get(name)
    if (state === undefined) throw new FreshetError('topic-missing', `there is no topic ${name}`)
    return state
  }
}

/** @throws FreshetError `misrouted` */
function requirePartition(state: TopicState, partition: Partition): void {
  if (state.progress[partition] === undefined)
    throw new FreshetError('misrouted', `topic ${state.spec.name} has no partition ${partition}`)
}
