import { asOffset, asPartition, type Offset, type Partition } from '../../schemas/ids.ts'
import type { TopicSpec } from '../event-log.ts'
import type { EmbeddedEnvironment } from './environment.ts'
import { appendTimeOf, offsetOfKey, partitionKey, recordKey, u48 } from './record-layout.ts'
import type { WriteBatch } from './write-batch.ts'

/** Offsets and times of a partition as they are on disk; kept in memory, so that appends and polls read nothing. */
export interface PartitionProgress {
  /** Exclusive. */
  end: Offset
  lastAppendTimeMs: number
  /** Log compaction has seen every record below. */
  cleaned: Offset
  /** Records below are expired; 0 unless the topic has a retention. */
  start: Offset
}

interface StagedEnd {
  readonly batch: WriteBatch
  end: Offset
  lastAppendTimeMs: number
}

/** One topic while its log is open. Partition numbers index `progress`. */
export class TopicState {
  readonly id: number
  spec: TopicSpec
  readonly partitions: readonly Partition[]
  readonly progress: readonly PartitionProgress[]
  /** Called when a partition's end has moved. */
  readonly listeners = new Set<() => void>()
  readonly #staged: (StagedEnd | undefined)[] = []

  constructor(id: number, spec: TopicSpec, progress: readonly PartitionProgress[]) {
    this.id = id
    this.spec = spec
    this.partitions = progress.map((_, partition) => asPartition(partition))
    this.progress = progress
  }

  /** The partition's end within the transaction being put together; becomes its end once that is durable. */
  stagedEnd(batch: WriteBatch, partition: Partition): StagedEnd {
    const current = this.#staged[partition]
    if (current?.batch === batch) return current
    const progress = this.progress[partition]!
    const staged: StagedEnd = { batch, end: progress.end, lastAppendTimeMs: progress.lastAppendTimeMs }
    this.#staged[partition] = staged
    batch.onSettled(committed => {
      if (!committed) return
      progress.end = staged.end
      progress.lastAppendTimeMs = staged.lastAppendTimeMs
      for (const listener of this.listeners) listener()
    })
    return staged
  }
}

export function newProgress(spec: TopicSpec): readonly PartitionProgress[] {
  return Array.from({ length: spec.partitions }, () => ({
    end: asOffset(0),
    lastAppendTimeMs: 0,
    cleaned: asOffset(0),
    start: asOffset(0),
  }))
}

/** An append does not write this row: the last record tells as much, unless it was removed, which writes the row. */
export function loadProgress(environment: EmbeddedEnvironment, topicId: number, partition: number): PartitionProgress {
  const row = environment.get('partitions', partitionKey(topicId, partition))
  const stored = [0, 1, 2, 3].map(index => row?.readUIntBE(6 * index, 6) ?? 0)
  const [last] = environment.range('records', {
    start: recordKey(topicId, partition, 2 ** 48 - 1),
    end: partitionKey(topicId, partition),
    reverse: true,
    limit: 1,
  })
  return {
    end: asOffset(Math.max(stored[0]!, last === undefined ? 0 : offsetOfKey(last.key) + 1)),
    lastAppendTimeMs: Math.max(stored[1]!, last === undefined ? 0 : appendTimeOf(last.value)),
    cleaned: asOffset(stored[2]!),
    start: asOffset(stored[3]!),
  }
}

export function storeProgress(batch: WriteBatch, topicId: number, partition: number, now: PartitionProgress): void {
  batch.put('partitions', partitionKey(topicId, partition), u48(now.end, now.lastAppendTimeMs, now.cleaned, now.start))
}
