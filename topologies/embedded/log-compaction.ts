import { asOffset, type Offset, type Partition } from '../../schemas/ids.ts'
import type { EmbeddedEnvironment, Row, Upkeep } from './environment.ts'
import {
  appendTimeOf,
  hasValue,
  keyOf,
  lastOffsetKey,
  offsetOfKey,
  partitionKey,
  recordKey,
  u48,
} from './record-layout.ts'
import { type PartitionProgress, storeProgress, type TopicState } from './topic-state.ts'
import type { WriteBatch } from './write-batch.ts'

const maxRecordsPerSlice = 512
const maxSliceMs = 3

/**
 * Log compaction and retention. Every record is looked at once, when it is older than the topic's
 * `minCompactionLagMs`: the record of its key seen before it (`lastOffsets`) is removed. So the log holds, per key,
 * the last record that is old enough, and all younger ones; a reader that finds a record gone has the later one of
 * that key still before it. A null value stays for `tombstoneRetentionMs` after it was looked at; where that is 0, it
 * goes with what it deletes.
 *
 * Each slice is one transaction with the progress it makes, so a crash repeats nothing and skips nothing.
 */
export class LogCompaction implements Upkeep {
  readonly #environment: EmbeddedEnvironment
  readonly #topics: () => readonly TopicState[]
  #next = 0

  constructor(environment: EmbeddedEnvironment, topics: () => readonly TopicState[]) {
    this.#environment = environment
    this.#topics = topics
  }

  async runSlice(): Promise<boolean> {
    const partitions = this.#topics().flatMap(topic => topic.partitions.map(partition => ({ topic, partition })))
    for (let tried = 0; tried < partitions.length; tried++) {
      const { topic, partition } = partitions[this.#next % partitions.length]!
      // On to the next one in any case: a partition that records keep becoming due in must not keep the others waiting.
      this.#next = (this.#next + 1) % partitions.length
      if (await this.#tidy(topic, partition)) return true
    }
    return false
  }

  /** One slice in one partition; false when nothing is due there. */
  async #tidy(topic: TopicState, partition: Partition): Promise<boolean> {
    if (!topic.spec.compacted) return this.#removeExpired(topic, partition)
    const superseded = await this.#removeSuperseded(topic, partition)
    const tombstones = await this.#removeTombstones(topic, partition)
    return superseded || tombstones
  }

  async #removeSuperseded(topic: TopicState, partition: Partition): Promise<boolean> {
    const progress = topic.progress[partition]!
    const now = this.#environment.clock()
    const youngest = now - topic.spec.minCompactionLagMs
    const rows = this.#records(topic, partition, progress.cleaned, youngest)
    const last = rows.at(-1)
    if (last === undefined) return false
    const superseded: Offset[] = []
    const tombstones: Offset[] = []
    const lastOffsets = new LastOffsets(this.#environment, topic.id, partition)
    for (const { key, value } of rows) {
      const recordKey = keyOf(value)
      if (recordKey === null) continue
      const offset = offsetOfKey(key)
      const before = lastOffsets.replace(recordKey, hasValue(value) ? offset : null)
      if (before !== undefined) superseded.push(before)
      if (!hasValue(value)) tombstones.push(offset)
    }
    await this.#write(topic, partition, { ...progress, cleaned: asOffset(offsetOfKey(last.key) + 1) }, batch => {
      for (const offset of superseded) batch.remove('records', recordKey(topic.id, partition, offset))
      for (const offset of tombstones) {
        const row = recordKey(topic.id, partition, offset)
        if (topic.spec.tombstoneRetentionMs === 0) batch.remove('records', row)
        else batch.put('tombstones', row, u48(now))
      }
      lastOffsets.store(batch)
    })
    return true
  }

  async #removeTombstones(topic: TopicState, partition: Partition): Promise<boolean> {
    const youngest = this.#environment.clock() - topic.spec.tombstoneRetentionMs
    const range = { start: partitionKey(topic.id, partition), end: partitionKey(topic.id, partition + 1) }
    const due = takeWhile(this.#environment.range('tombstones', range), row => row.readUIntBE(0, 6) <= youngest)
    if (due.length === 0) return false
    await this.#write(topic, partition, { ...topic.progress[partition]! }, batch => {
      for (const { key } of due) {
        batch.remove('records', key)
        batch.remove('tombstones', key)
      }
    })
    return true
  }

  async #removeExpired(topic: TopicState, partition: Partition): Promise<boolean> {
    const { retentionMs } = topic.spec
    if (retentionMs === null) return false
    const progress = topic.progress[partition]!
    const youngest = this.#environment.clock() - retentionMs
    const rows = this.#records(topic, partition, progress.start, youngest)
    const last = rows.at(-1)
    if (last === undefined) return false
    await this.#write(topic, partition, { ...progress, start: asOffset(offsetOfKey(last.key) + 1) }, batch => {
      for (const { key } of rows) batch.remove('records', key)
    })
    return true
  }

  /** Records from an offset on, up to the first that is younger than `youngestMs`. */
  #records(topic: TopicState, partition: Partition, from: Offset, youngestMs: number): readonly Row[] {
    const range = {
      start: recordKey(topic.id, partition, from),
      end: recordKey(topic.id, partition, topic.progress[partition]!.end),
    }
    return takeWhile(this.#environment.range('records', range), row => appendTimeOf(row) <= youngestMs)
  }

  async #write(
    topic: TopicState,
    partition: Partition,
    progress: PartitionProgress,
    operations: (batch: WriteBatch) => void,
  ): Promise<void> {
    await this.#environment.write(
      batch => {
        operations(batch)
        storeProgress(batch, topic.id, partition, progress)
        batch.onSettled(committed => {
          if (!committed) return
          topic.progress[partition]!.cleaned = progress.cleaned
          topic.progress[partition]!.start = progress.start
        })
      },
      { reclaims: true },
    )
  }
}

/** Offset of the last record per key, as of the slice. A key whose last record is a null has none. */
class LastOffsets {
  readonly #environment: EmbeddedEnvironment
  readonly #topicId: number
  readonly #partition: Partition
  readonly #changed = new Map<string, { readonly row: Buffer; offset: Offset | null }>()

  constructor(environment: EmbeddedEnvironment, topicId: number, partition: Partition) {
    this.#environment = environment
    this.#topicId = topicId
    this.#partition = partition
  }

  /** Returns the offset it had. */
  replace(key: Buffer, offset: Offset | null): Offset | undefined {
    const name = key.toString('latin1')
    const changed = this.#changed.get(name)
    if (changed !== undefined) {
      const before = changed.offset
      changed.offset = offset
      return before ?? undefined
    }
    const row = lastOffsetKey(this.#topicId, this.#partition, key)
    this.#changed.set(name, { row, offset })
    const stored = this.#environment.get('lastOffsets', row)
    return stored === undefined ? undefined : asOffset(stored.readUIntBE(0, 6))
  }

  store(batch: WriteBatch): void {
    for (const { row, offset } of this.#changed.values()) {
      if (offset === null) batch.remove('lastOffsets', row)
      else batch.put('lastOffsets', row, u48(offset))
    }
  }
}

/** Rows up to the first that is not due, bounded by count and by the time it takes to read them. */
function takeWhile(rows: Iterable<Row>, isDue: (row: Buffer) => boolean): readonly Row[] {
  const taken: Row[] = []
  const startedAt = performance.now()
  for (const row of rows) {
    if (!isDue(row.value)) break
    taken.push(row)
    if (taken.length === maxRecordsPerSlice || performance.now() - startedAt > maxSliceMs) break
  }
  return taken
}
