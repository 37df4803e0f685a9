import type { Offset, Partition } from '../schemas/ids.ts'

/** How a topic is kept. Durations in ms; null keeps for ever. */
export interface TopicSpec {
  readonly name: string
  readonly partitions: number
  /** Keep the last record per key (log compaction). */
  readonly compacted: boolean
  /** Delete records older than this; null for ever. */
  readonly retentionMs: number | null
  /** A record younger than this is never compacted away. */
  readonly minCompactionLagMs: number
  /** How long a null value stays visible after log compaction. */
  readonly tombstoneRetentionMs: number
  /** Records keep the time their producer gave them, which is not to be trusted: never wanted, only found. */
  readonly producerTimes?: true
}

export interface NewRecord {
  /** Set explicitly by the caller, computed from the item id. */
  readonly partition: Partition
  readonly key: Uint8Array | null
  /** null deletes the key under log compaction. */
  readonly value: Uint8Array | null
  readonly headers?: Readonly<Record<string, string>>
}

export interface LogRecord {
  readonly topic: string
  readonly partition: Partition
  readonly offset: Offset
  /** Broker's append time, ms since 1970. */
  readonly appendTimeMs: number
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  readonly headers: Readonly<Record<string, string>>
}

export interface AppendedRecord {
  readonly partition: Partition
  readonly offset: Offset
  readonly appendTimeMs: number
}

/** Where a reader begins: at the group's committed offsets (else the start), or at given offsets (missing partition: the start). */
export type ReadFrom = 'committed' | ReadonlyMap<Partition, Offset>

export interface ReaderOptions {
  readonly topic: string
  /** Fixed partitions (a shard, or all of them on one machine), or `group` for those the group assigns. */
  readonly partitions: readonly Partition[] | 'group'
  /** Needed for `committed`, `group` and `commit`. Fixed partitions commit only while the group has no members. */
  readonly group?: string
  /** `committed` for partitions that a group assigns. */
  readonly from: ReadFrom
}

/**
 * The ordered, durable truth. Called by: the gateway (append events), the dispatcher (read catalog and mutations,
 * append mutations), workers (append mutations), shards (read mutations).
 *
 * Errors: `topic-missing`, `topic-mismatch`, `record-too-large`, `access-denied` are final; `storage-full`,
 * `storage-failed`, `log-unavailable` may be retried by the caller, who then may write a record twice: every reader
 * tolerates duplicates.
 */
export interface EventLog {
  /** What traces call it (`messaging.system`); `kafka` where nothing is said. */
  readonly system?: string
  /**
   * Creates the topic or checks that it fits. Durations of one that is there are set to those of the spec.
   * @throws FreshetError `topic-mismatch` (another number of partitions, or compacted and not)
   */
  ensureTopic(spec: TopicSpec): Promise<void>
  /**
   * Deletes the topic with all that is in it, for good; nothing happens where there is none, so that a deletion that
   * was cut short is called again. Its readers end with `topic-missing`.
   */
  deleteTopic(topic: string): Promise<void>
  /** How the topic is kept now; null when there is none. */
  topicSpec(topic: string): Promise<TopicSpec | null>
  /** @throws FreshetError `topic-missing` */
  partitionCount(topic: string): Promise<number>
  /**
   * Appends in order per partition. Resolves when all are durable, with one entry per record in the order given.
   * Appends issued by one caller without awaiting keep their order. Embedded: all writes issued in one tick, of all
   * ports of one environment, are one transaction.
   */
  append(topic: string, records: readonly NewRecord[]): Promise<readonly AppendedRecord[]>
  /** First offset still in the log and the end offset (exclusive), per partition. */
  offsets(topic: string): Promise<ReadonlyMap<Partition, { readonly start: Offset; readonly end: Offset }>>
  /** @throws FreshetError `topic-missing` | `offset-out-of-range` (a given offset lies below the start of a non-compacted log, or beyond the end) */
  openReader(options: ReaderOptions): Promise<LogReader>
  /** Committed offsets (next to read) of a group. */
  committed(group: string, topic: string): Promise<ReadonlyMap<Partition, Offset>>
  close(): Promise<void>
}

/** A position in some partitions. One owner; `poll` is never called twice at once. */
export interface LogReader {
  /**
   * Next records, in order per partition, at most `maxRecords`. Waits up to `waitMs` for the first; an empty array
   * then. Offsets may have gaps (log compaction).
   * @throws FreshetError `log-unavailable`: the reader goes on, poll again · `offset-out-of-range`, `topic-missing`,
   * `access-denied`: this reader has ended, close it
   */
  poll(maxRecords: number, waitMs: number): Promise<readonly LogRecord[]>
  /**
   * Partitions now read and the epoch of their assignment; work of an older epoch is fenced by the caller. They
   * change only within a `poll`, which then returns nothing. With a new epoch every partition begins anew at the
   * group's committed offset, the kept ones too, and none is paused.
   */
  assignment(): { readonly epoch: number; readonly partitions: readonly Partition[] }
  /** Paused partitions deliver nothing until resumed. */
  pause(partitions: readonly Partition[]): void
  resume(partitions: readonly Partition[]): void
  /** Next offset this reader will deliver from. */
  position(partition: Partition): Offset
  /**
   * Commits next-to-read offsets for the group; durable when resolved. Partitions that are not assigned here any more
   * are left out, even if this reader has not yet seen the change: it never moves the offsets of another owner.
   */
  commit(offsets: ReadonlyMap<Partition, Offset>): Promise<void>
  /** Wakes a waiting poll, which returns what it has. */
  close(): Promise<void>
}
