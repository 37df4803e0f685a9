import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import {
  asOffset,
  type Generation,
  type ImageDigest,
  type ItemId,
  type Offset,
  type Partition,
  type ReplicaId,
  type ShardId,
} from '../schemas/ids.ts'
import { partitionOf } from '../schemas/partition.ts'
import type {
  ItemRegisters,
  ReplicaState,
  ReplicaStatus,
  ShardReplica,
  ShardSearchRequest,
  ShardSearchResult,
} from '../schemas/shard-api.ts'
import { mutationTopic } from '../schemas/topics.ts'
import type { LogReader } from '../topologies/event-log.ts'
import { type RestoredShard, restoreShard } from './checkpoint.ts'
import { CheckpointDirectory } from './checkpoint-directory.ts'
import type { SavedWatermark } from './checkpoint-manifest.ts'
import { Checkpoints } from './checkpoints.ts'
import { indexAgeMs } from './index-age.ts'
import { referencedImages, registersOf } from './item-answers.ts'
import type { VectorStatistics } from './item-index.ts'
import { ItemWaiters } from './item-waiters.ts'
import { MutationFollower } from './mutation-follower.ts'
import type { DigestBuckets } from './partition-digest.ts'
import { type ItemState, isSearchable } from './registers.ts'
import { Searcher } from './searcher.ts'
import {
  defaultShardTuning,
  type SearchableItem,
  type ShardNodeOptions,
  type ShardTuning,
} from './shard-node-options.ts'
import { ShardSearches } from './shard-searches.ts'
import type { Batch, ShardState } from './shard-state.ts'

/** Batches the search thread may be behind before the log is read on. */
const maxBatchesInFlight = 8

/** What `open` has put together. */
interface Opened extends RestoredShard {
  readonly options: ShardNodeOptions
  readonly tuning: ShardTuning
  readonly directory: CheckpointDirectory
  readonly searcher: Searcher
  readonly partitionCount: number
  /** Why a checkpoint was not used. */
  readonly refused: FreshetError | null
  /** End offsets of the log at the start. */
  readonly catchUpTo: Map<Partition, Offset>
}

/**
 * One replica of one shard of one generation. The owner, on this thread, folds the mutation log into registers; the
 * search thread holds the vectors.
 *
 * `catching-up` until everything that lay in the log at the start is searchable → `ready` ⇄ `refusing` while a record
 * that the watermark has passed could not be applied → `stopped` on `close`. A failure of the log or of the search
 * thread is final: `refusing`, and `onFailure` is called. Only `ready` answers searches; registers and status are
 * always told.
 */
export class ShardNode implements ShardReplica {
  readonly shard: ShardId
  readonly replica: ReplicaId
  readonly generation: Generation
  readonly partitions: readonly Partition[]
  readonly #options: ShardNodeOptions
  readonly #tuning: ShardTuning
  readonly #partitionCount: number
  readonly #searcher: Searcher
  readonly #state: ShardState
  readonly #searches: ShardSearches
  readonly #checkpoints: Checkpoints
  readonly #follower: MutationFollower
  readonly #waiters = new ItemWaiters()
  readonly #startedAtMs: number
  readonly #timer: NodeJS.Timeout | null
  /** End offsets still to be reached before the replica is ready. */
  readonly #catchUpTo: Map<Partition, Offset>
  readonly #checkpointRefused: FreshetError | null
  #failure: FreshetError | null = null
  #lacking: FreshetError | null = null
  #closing: Promise<void> | null = null
  #stopped = false
  #batchesInFlight = 0
  #afterShown: (() => void)[] = []
  /** Held while a checkpoint waits for rest; the follower then waits too. */
  #rest: Promise<unknown> | null = null

  private constructor(opened: Opened) {
    const { options, tuning, directory, searcher, state, reader } = opened
    this.shard = options.shard
    this.replica = options.replica
    this.generation = options.generation
    this.partitions = options.partitions
    this.#options = options
    this.#tuning = tuning
    this.#partitionCount = opened.partitionCount
    this.#searcher = searcher
    this.#state = state
    this.#startedAtMs = options.clock()
    this.#catchUpTo = opened.catchUpTo
    this.#checkpointRefused = opened.refused
    this.#searches = new ShardSearches({
      acceptance: options.acceptance,
      searcher,
      state,
      beforeSearch: () => this.#flush(),
    })
    this.#checkpoints = new Checkpoints({
      identity: options,
      directory,
      searcher,
      state,
      restored: opened.manifest,
      clock: options.clock,
      atRest: picture => this.#atRest(picture),
    })
    this.#follower = new MutationFollower({ reader, codec: options.codec, state, onSlice: () => this.#afterSlice() })
    this.#timer = this.#startTimer()
    void searcher.failed.then(error => this.#fail(error))
    this.#noteCaughtUp()
    this.#follower.run().catch(thrown => {
      if (this.#closing === null) this.#fail(asFreshetError(thrown))
    })
  }

  /**
   * Restores the newest usable checkpoint and begins to follow the log; resolves before having caught up.
   * @throws FreshetError `topic-missing`; `fingerprint-mismatch` | `topic-epoch` | `data-format` when the directory
   * holds a checkpoint of something else
   */
  static async open(options: ShardNodeOptions): Promise<ShardNode> {
    const tuning = { ...defaultShardTuning, ...options.tuning }
    const topic = mutationTopic(options.generation)
    const directory = new CheckpointDirectory(options.directory)
    await directory.create()
    await directory.prune()
    const offsets = await options.log.offsets(topic)
    const catchUpTo = new Map(
      options.partitions.map(partition => [partition, offsets.get(partition)?.end ?? asOffset(0)]),
    )
    const partitionCount = await options.log.partitionCount(topic)
    const { expansionAdd, expansionSearch } = tuning
    const searcher = new Searcher({
      dims: options.acceptance.dims,
      expansionAdd,
      expansionSearch,
      directory: directory.path,
    })
    let refused: FreshetError | null = null
    try {
      const restored = await restoreShard({
        identity: options,
        directory,
        searcher,
        nowMs: options.clock(),
        tombstoneRetentionMs: tuning.tombstoneRetentionMs,
        openReader: from => openReader(options, from, catchUpTo),
        onAlarm: error => {
          refused = error
          options.onAlarm(error)
        },
      })
      return new ShardNode({ ...restored, options, tuning, directory, searcher, partitionCount, refused, catchUpTo })
    } catch (thrown) {
      await searcher.close()
      throw thrown
    }
  }

  get state(): ReplicaState {
    if (this.#stopped) return 'stopped'
    if (this.#failure !== null || this.#lacking !== null) return 'refusing'
    return this.#catchUpTo.size > 0 ? 'catching-up' : 'ready'
  }

  /** Records of the log that were not applied since the start, whether made good since or not. */
  get refusedRecords(): number {
    return this.#state.refused.total
  }

  async search(request: ShardSearchRequest, signal?: AbortSignal): Promise<ShardSearchResult> {
    this.#requireReady()
    const { hits, plan, watermarks } = await this.#searches.search(request, signal)
    return { hits, plan, watermarks: this.#watermarkOffsets(watermarks), indexAgeMs: this.#indexAgeMs(watermarks) }
  }

  /** Of what a search finds: a register counts once the search thread has it. */
  async registers(itemId: ItemId): Promise<ItemRegisters> {
    const watermark = this.#state.shownWatermarks.get(partitionOf(itemId, this.#partitionCount))?.offset ?? -1
    const times = this.#state.times.of(itemId, this.#options.clock())
    return registersOf(this.#state.table.find(itemId), { watermark, times })
  }

  async objectVector(itemId: ItemId, object: number): Promise<Float32Array | null> {
    this.#requireReady()
    const item = this.#state.table.find(itemId)
    if (item === undefined || !isSearchable(item.shown)) return null
    return this.#searcher.ask('vector', { item: item.ordinal, object }, vector => vector)
  }

  /** Rejects with the signal's reason when it fires first. */
  changed(itemId: ItemId, signal: AbortSignal): Promise<void> {
    return this.#waiters.wait(itemId, partitionOf(itemId, this.#partitionCount), signal)
  }

  /** Resolves once every mutation record below `next` is searched. @throws FreshetError `not-ready` when it never will be */
  async reached(partition: Partition, next: Offset): Promise<void> {
    while ((this.#state.shownNext.get(partition) ?? 0) < next) {
      if (this.#failure !== null || this.#stopped) throw new FreshetError('not-ready', this.#whyNot())
      await this.#nextShown()
    }
  }

  async status(): Promise<ReplicaStatus> {
    const state = this.#state
    const vectors = await this.#vectorStatistics()
    const { rows, tombstones, segments, memoryBytes, normMin, normMax, normMean } = vectors
    const { searchable, pending, failed, deleted } = state.table.counts
    return {
      shard: this.shard,
      replica: this.replica,
      generation: this.generation,
      state: this.state,
      reason: this.#reason(),
      applied: Object.fromEntries(state.shownNext),
      watermark: this.#watermarkOffsets(state.shownWatermarks),
      indexAgeMs: this.#indexAgeMs(state.shownWatermarks),
      items: { searchable, pending, failed, deleted },
      rows,
      tombstones,
      segments,
      memoryBytes,
      digests: Object.fromEntries([...state.digests].map(([partition, digests]) => [partition, digests.total()])),
      vectors: { dims: this.#options.acceptance.dims, count: rows, normMin, normMax, normMean },
      searchMs: this.#searches.latency.summary(),
      checkpoint: this.#checkpointStatus(),
      storage: {
        graphs: 0,
        scannedRows: 0,
        vectors: { memoryBytes, diskBytes: 0, memoryPerVector: rows === 0 ? 0 : memoryBytes / rows },
        items: { memoryBytes: 0, diskBytes: 0, memoryPerItem: 0 },
      },
      recall: null,
    }
  }

  /** Which of these images an item that is not removed refers to. Looks at every item: for eviction, not for queries. */
  referenced(digests: readonly ImageDigest[]): ReadonlySet<ImageDigest> {
    return referencedImages(this.#state.table, digests)
  }

  /** Sums by bucket of a partition's digests: equal buckets hold the same items. Null for a partition of others. */
  digestBuckets(partition: Partition): DigestBuckets | null {
    return this.#state.digests.get(partition)?.buckets() ?? null
  }

  /**
   * Writes a checkpoint of everything applied so far; serving goes on.
   * @throws FreshetError `storage-failed` | `storage-full`; `not-ready` when the replica is not whole
   */
  async checkpoint(): Promise<void> {
    this.#requireWhole()
    await this.#checkpoints.write()
  }

  /**
   * Writes a checkpoint and copies it to a directory, while serving. Copy the log after it: a checkpoint ahead of its
   * log is refused.
   * @throws FreshetError `storage-failed` | `storage-full`; `not-ready` when the replica is not whole
   */
  async exportTo(directory: string): Promise<void> {
    this.#requireWhole()
    await this.#checkpoints.exportTo(directory)
  }

  /** Stops following, writes a checkpoint if anything changed, ends the search thread. Repeatable. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    clearInterval(this.#timer ?? undefined)
    await this.#follower.close()
    await this.#checkpointIfBehind()
    this.#stopped = true
    this.#wakeAll()
    await this.#searcher.close()
  }

  /** After each slice of the log. A promise holds the follower back: for a checkpoint, or a search thread behind. */
  #afterSlice(): Promise<unknown> | null {
    if (this.#failure !== null) throw this.#failure
    this.#flush()
    this.#noteLacking()
    return this.#rest ?? (this.#batchesInFlight < maxBatchesInFlight ? null : this.#nextShown())
  }

  /** Sends what was applied to the search thread; shown when it answers, or at once when it has nothing to do. */
  #flush(): void {
    const batch = this.#state.takeBatch()
    if (batch === null) return
    this.#batchesInFlight++
    if (batch.operations.length === 0 && this.#batchesInFlight === 1) this.#show(batch)
    else this.#searcher.post('apply', batch.operations, () => this.#show(batch))
  }

  #show(batch: Batch): void {
    const nowMs = this.#options.clock()
    const shown = this.#state.show(batch, nowMs)
    this.#batchesInFlight--
    this.#noteCaughtUp()
    for (const partition of shown.watermarks) this.#waiters.wakePartition(partition)
    for (const [partition, items] of shown.items) this.#waiters.wakeItems(partition, items)
    for (const resolve of this.#afterShown.splice(0)) resolve()
    if (shown.searchable.length > 0) this.#options.onSearchable?.(shown.searchable.map(item => announced(item, nowMs)))
  }

  #nextShown(): Promise<void> {
    return new Promise(resolve => this.#afterShown.push(resolve))
  }

  #noteCaughtUp(): void {
    for (const [partition, end] of this.#catchUpTo)
      if ((this.#state.shownNext.get(partition) ?? 0) >= end) this.#catchUpTo.delete(partition)
  }

  #noteLacking(): void {
    const record = this.#state.lacking()
    if (record === null) {
      this.#lacking = null
      return
    }
    if (this.#lacking !== null) return
    this.#lacking = new FreshetError(
      record.code,
      `the watermark has passed version ${record.offset} of ${record.itemId}, which was refused: ${record.message}`,
    )
    this.#options.onAlarm(this.#lacking)
  }

  /** Calls `picture` when everything applied is shown; the follower waits from now until then. */
  async #atRest<T>(picture: () => T): Promise<T> {
    const held = Promise.withResolvers<void>()
    this.#rest = held.promise
    try {
      for (this.#flush(); this.#batchesInFlight > 0; this.#flush()) {
        this.#requireWhole()
        await this.#nextShown()
      }
      this.#requireWhole()
      this.#state.forgetRemoved(this.#options.clock() - this.#tuning.tombstoneRetentionMs)
      return picture()
    } finally {
      this.#rest = null
      held.resolve()
    }
  }

  #startTimer(): NodeJS.Timeout | null {
    const { checkpointEveryMs } = this.#tuning
    if (checkpointEveryMs === null) return null
    return setInterval(() => void this.#checkpointIfBehind(), checkpointEveryMs).unref()
  }

  async #checkpointIfBehind(): Promise<void> {
    if (!this.#isWhole() || !this.#checkpoints.isBehind()) return
    await this.#checkpoints.write().catch(thrown => this.#options.onAlarm(asFreshetError(thrown)))
  }

  #checkpointStatus(): ReplicaStatus['checkpoint'] {
    const { published } = this.#checkpoints
    if (published === null) return { writtenAtMs: null, bytes: 0 }
    const { items, rows, graph } = published
    return { writtenAtMs: published.writtenAtMs, bytes: items.bytes + rows.bytes + (graph?.bytes ?? 0) }
  }

  async #vectorStatistics(): Promise<VectorStatistics> {
    if (this.#failure !== null || this.#stopped) return noVectors
    return this.#searcher.ask('statistics', null, statistics => statistics)
  }

  #watermarkOffsets(watermarks: ReadonlyMap<Partition, SavedWatermark>): Record<string, Offset> {
    return Object.fromEntries(
      this.partitions.map(partition => [partition, asOffset(watermarks.get(partition)?.offset ?? -1)]),
    )
  }

  #indexAgeMs(watermarks: ReadonlyMap<Partition, SavedWatermark>): number {
    return indexAgeMs(watermarks, this.partitions, { nowMs: this.#options.clock(), sinceMs: this.#startedAtMs })
  }

  /** Why it refuses; while catching up, why a checkpoint could not be used. */
  #reason(): string | null {
    const error = this.#failure ?? this.#lacking ?? (this.#catchUpTo.size > 0 ? this.#checkpointRefused : null)
    return error?.message ?? null
  }

  #isWhole(): boolean {
    return this.#failure === null && this.#lacking === null && !this.#stopped
  }

  #requireWhole(): void {
    if (!this.#isWhole()) throw new FreshetError('not-ready', this.#whyNot())
  }

  #requireReady(): void {
    if (this.state !== 'ready') throw new FreshetError('not-ready', this.#whyNot())
  }

  #whyNot(): string {
    return (this.#failure ?? this.#lacking)?.message ?? `the shard is ${this.state}`
  }

  #fail(error: FreshetError): void {
    if (this.#failure !== null || this.#stopped) return
    this.#failure = error
    this.#wakeAll()
    if (this.#closing === null) this.#options.onFailure(error)
  }

  #wakeAll(): void {
    for (const resolve of this.#afterShown.splice(0)) resolve()
    this.#waiters.wakeAll()
  }
}

function announced({ itemId, attributes, objects }: ItemState, atMs: number): SearchableItem {
  const digest = (objects?.imageDigests[0] ?? null) as ImageDigest | null
  return { itemId, title: attributes?.title ?? '', digest, atMs }
}

const noVectors: VectorStatistics = {
  rows: 0,
  tombstones: 0,
  segments: 0,
  memoryBytes: 0,
  normMin: 0,
  normMax: 0,
  normMean: 0,
}

/** @throws FreshetError `offset-out-of-range` also for a position that the log has not reached */
async function openReader(
  options: ShardNodeOptions,
  from: ReadonlyMap<Partition, Offset>,
  ends: ReadonlyMap<Partition, Offset>,
): Promise<LogReader> {
  for (const [partition, offset] of from)
    if (offset > (ends.get(partition) ?? 0))
      throw new FreshetError('offset-out-of-range', `partition ${partition} ends before ${offset}`)
  return options.log.openReader({ topic: mutationTopic(options.generation), partitions: options.partitions, from })
}
