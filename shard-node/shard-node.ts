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
  CutReplica,
  CutTaken,
  ItemAtCut,
  ItemRegisters,
  ReplicaContent,
  ReplicaState,
  ReplicaStatus,
  ShardReplica,
  ShardSearchRequest,
  ShardSearchResult,
} from '../schemas/shard-api.ts'
import { mutationTopic } from '../schemas/topics.ts'
import type { LogReader } from '../topologies/event-log.ts'
import { ApplyTrace } from './apply-trace.ts'
import { CheckpointDirectory, totalBytes } from './checkpoint/checkpoint-directory.ts'
import { Checkpoints } from './checkpoint/checkpoints.ts'
import { filesOf } from './checkpoint/manifest.ts'
import { positionOf, type RestoredShard, restoreShard } from './checkpoint/restore.ts'
import { openContent, type ShardContent } from './checkpoint/shard-content.ts'
import { ShardFiles } from './files/shard-files.ts'
import { indexAgeMs, type SavedWatermark } from './index-age.ts'
import { ItemWaiters } from './item-waiters.ts'
import type { DigestCut } from './items/digest-cuts.ts'
import { registersOf } from './items/item-answers.ts'
import { MutationFollower } from './mutation-follower.ts'
import { LiveRecall } from './recall/live-recall.ts'
import { ShardCuts } from './shard-cuts.ts'
import { ShardMeter } from './shard-meter.ts'
import {
  defaultShardTuning,
  type SearchableItem,
  type ShardNodeOptions,
  type ShardTuning,
} from './shard-node-options.ts'
import { type FoundItems, ShardSearches } from './shard-searches.ts'
import { type FoundItem, ShardState } from './shard-state.ts'

/** How often it is looked whether the newest checkpoint holds on to files that were merged. */
const mergedCheckMs = 1_000

/** What `open` has put together. */
interface Opened extends RestoredShard<ShardContent> {
  readonly options: ShardNodeOptions
  readonly tuning: ShardTuning
  readonly directory: CheckpointDirectory
  readonly recall: LiveRecall | null
  readonly partitionCount: number
  /** Why a checkpoint was not used. */
  readonly refused: FreshetError | null
  /** End offsets of the log at the start. */
  readonly catchUpTo: Map<Partition, Offset>
  /** Resolves when searches are no longer possible. */
  readonly failed: Promise<FreshetError>
}

/**
 * One replica of one shard of one generation. This thread owns it: it folds the mutation log into items and rows;
 * search threads read the rows, a builder process merges them.
 *
 * `catching-up` until everything that lay in the log at the start is applied → `ready` ⇄ `refusing` while a record
 * that the watermark has passed could not be applied → `stopped` on `close`. A failure of the log or of a search
 * thread is final: `refusing`, and `onFailure` is called. While the disk takes nothing, or the log is away, searches go
 * on. Only `ready` answers searches; registers and status are always told.
 */
export class ShardNode implements ShardReplica, CutReplica {
  readonly shard: ShardId
  readonly replica: ReplicaId
  readonly generation: Generation
  readonly partitions: readonly Partition[]
  readonly #options: ShardNodeOptions
  readonly #partitionCount: number
  readonly #content: ShardContent
  readonly #state: ShardState
  readonly #searches: ShardSearches
  readonly #checkpoints: Checkpoints
  readonly #recall: LiveRecall | null
  readonly #follower: MutationFollower
  readonly #waiters = new ItemWaiters()
  readonly #cuts: ShardCuts
  readonly #startedAtMs: number
  readonly #timers: readonly NodeJS.Timeout[]
  /** End offsets still to be reached before the replica is ready. */
  readonly #catchUpTo: Map<Partition, Offset>
  readonly #checkpointRefused: FreshetError | null
  #failure: FreshetError | null = null
  #lacking: FreshetError | null = null
  #closing: Promise<void> | null = null
  #stopped = false
  #afterSlice: (() => void)[] = []

  private constructor(opened: Opened) {
    const { options, tuning, directory, content, reader, recall } = opened
    this.shard = options.shard
    this.replica = options.replica
    this.generation = options.generation
    this.partitions = options.partitions
    this.#options = options
    this.#partitionCount = opened.partitionCount
    this.#content = content
    this.#recall = recall
    this.#startedAtMs = options.clock()
    this.#catchUpTo = opened.catchUpTo
    this.#checkpointRefused = opened.refused
    const { acceptance, partitions, clock } = options
    const { items, index } = content
    const state = new ShardState({ acceptance, partitions, clock, items, rows: index })
    if (opened.manifest !== null) state.resume(positionOf(opened.manifest))
    this.#state = state
    const meter = new ShardMeter(options, options.meter)
    this.#searches = new ShardSearches({ acceptance, index, state, meter })
    this.#cuts = new ShardCuts({
      begin: (partition, offset) => this.#beginCut(partition, offset),
      end: cut => items.endCut(cut),
    })
    this.#checkpoints = new Checkpoints({
      identity: options,
      directory,
      state,
      index,
      restored: opened.manifest,
      tombstoneRetentionMs: tuning.tombstoneRetentionMs,
      clock,
    })
    this.#follower = new MutationFollower({
      reader,
      codec: options.codec,
      state,
      meter,
      trace: new ApplyTrace({ ...options, system: options.log.system ?? 'kafka' }),
      clock,
      onSlice: () => this.#noteApplied(),
      onTrouble: options.onAlarm,
    })
    this.#timers = this.#startTimers(tuning.checkpointEveryMs)
    void opened.failed.then(error => this.#fail(error))
    this.#noteCaughtUp()
    this.#follower.run().catch(thrown => {
      if (this.#closing === null) this.#fail(asFreshetError(thrown))
    })
  }

  /**
   * Restores the newest usable checkpoint, or the seed's, and begins to follow the log; resolves before having caught
   * up.
   * @throws FreshetError `topic-missing`; `fingerprint-mismatch` | `topic-epoch` | `data-format` when the directory
   * holds a checkpoint of something else; storage codes
   */
  static async open(options: ShardNodeOptions): Promise<ShardNode> {
    const tuning = { ...defaultShardTuning, ...options.tuning }
    const { log, clock, onAlarm } = options
    const topic = mutationTopic(options.generation)
    const directory = new CheckpointDirectory(new ShardFiles(options.directory, options.onDiskStep))
    await directory.files.createDirectory()
    const ends = await log.offsets(topic)
    const catchUpTo = new Map(options.partitions.map(partition => [partition, ends.get(partition)?.end ?? asOffset(0)]))
    const partitionCount = await log.partitionCount(topic)
    const recall = tuning.recall === null ? null : new LiveRecall(tuning.recall, { index: tuning.index, clock })
    const failed = Promise.withResolvers<FreshetError>()
    let refused: FreshetError | null = null
    const restored = await restoreShard({
      identity: options,
      directory,
      seed: options.seedDirectory === undefined ? null : new CheckpointDirectory(new ShardFiles(options.seedDirectory)),
      nowMs: clock(),
      tombstoneRetentionMs: tuning.tombstoneRetentionMs,
      openReader: from => openReader(options, from, catchUpTo),
      load: manifest =>
        openContent(manifest, {
          identity: options,
          directory,
          tuning: tuning.index,
          itemTuning: tuning.items,
          ...(options.onDiskStep === undefined ? {} : { onDiskStep: options.onDiskStep }),
          onAlarm,
          onFailure: failed.resolve,
          ...recall?.hooks,
        }),
      onAlarm: error => {
        refused = error
        onAlarm(error)
      },
    })
    recall?.steer(restored.content.index)
    const opened = { ...restored, options, tuning, directory, recall, partitionCount, refused, catchUpTo }
    return new ShardNode({ ...opened, failed: failed.promise })
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

  content(): ReplicaContent | null {
    if (this.state !== 'ready') return null
    const { registerWrites, watermarks } = this.#state
    return {
      writes: registerWrites,
      watermarks: this.#watermarkOffsets(watermarks),
      indexAgeMs: this.#indexAgeMs(watermarks),
    }
  }

  async search(request: ShardSearchRequest, signal?: AbortSignal): Promise<ShardSearchResult> {
    this.#requireReady()
    return this.#resultOf(request, await this.#searches.search(request, signal))
  }

  /** As many results, in order, as of one moment; faster than one by one. @throws as `search`, when any is refused */
  async searchBatch(
    requests: readonly ShardSearchRequest[],
    signal?: AbortSignal,
  ): Promise<readonly ShardSearchResult[]> {
    this.#requireReady()
    const found = await this.#searches.searchBatch(requests, signal)
    return found.map((each, at) => this.#resultOf(requests[at]!, each))
  }

  async registers(itemId: ItemId): Promise<ItemRegisters> {
    const watermark = this.#state.watermarks.get(partitionOf(itemId, this.#partitionCount))?.offset ?? -1
    const times = this.#state.times.of(itemId, this.#options.clock())
    return registersOf(this.#content.items, itemId, { watermark, times })
  }

  async objectVector(itemId: ItemId, object: number): Promise<Float32Array | null> {
    this.#requireReady()
    const row = this.#content.items.find(itemId)
    return row?.standing === 'searchable' ? this.#content.index.vectorOf(row.item, object) : null
  }

  /** Rejects with the signal's reason when it fires first. */
  changed(itemId: ItemId, signal: AbortSignal): Promise<void> {
    return this.#waiters.wait(itemId, partitionOf(itemId, this.#partitionCount), signal)
  }

  /** Resolves once every mutation record below `next` is searched. @throws FreshetError `not-ready` when it never will be */
  async reached(partition: Partition, next: Offset): Promise<void> {
    while ((this.#state.next.get(partition) ?? 0) < next) {
      if (this.#failure !== null || this.#stopped) throw new FreshetError('not-ready', this.#whyNot())
      await new Promise<void>(resolve => this.#afterSlice.push(resolve))
    }
  }

  async status(): Promise<ReplicaStatus> {
    const { items, index } = this.#content
    const state = this.#state
    const vectors = index.statistics()
    const { rows, tombstones, segments, graphs, scannedRows, normMin, normMax, normMean } = vectors
    const { searchable, pending, failed, deleted } = items.counts
    return {
      shard: this.shard,
      replica: this.replica,
      generation: this.generation,
      state: this.state,
      reason: this.#reason(),
      applied: Object.fromEntries(state.next),
      watermark: this.#watermarkOffsets(state.watermarks),
      indexAgeMs: this.#indexAgeMs(state.watermarks),
      items: { searchable, pending, failed, deleted },
      rows,
      tombstones,
      segments,
      memoryBytes: vectors.memoryBytes + items.memoryBytes,
      digests: Object.fromEntries([...items.digests].map(([partition, digests]) => [partition, digests.total()])),
      vectors: { dims: this.#options.acceptance.dims, count: rows, normMin, normMax, normMean },
      searchMs: this.#searches.latency.summary(),
      checkpoint: this.#checkpointStatus(),
      storage: {
        graphs,
        scannedRows,
        vectors: {
          memoryBytes: vectors.memoryBytes,
          diskBytes: vectors.diskBytes,
          memoryPerVector: vectors.memoryBytes / Math.max(1, rows),
        },
        items: {
          memoryBytes: items.memoryBytes,
          diskBytes: items.diskBytes,
          memoryPerItem: items.memoryBytes / Math.max(1, items.limit),
        },
      },
      recall: this.#recall?.status() ?? null,
    }
  }

  /** Which of these images an item that is not removed refers to. Looks at every item: for eviction, not for queries. */
  referenced(digests: readonly ImageDigest[]): ReadonlySet<ImageDigest> {
    return this.#content.items.referenced(digests)
  }

  /** The partition as of now, at an offset that its watermark has reached. */
  beginCut(partition: Partition, offset: Offset): Promise<CutTaken> {
    return this.#cuts.beginCut(partition, offset)
  }

  cutItems(cut: string, itemIds: readonly ItemId[]): Promise<readonly ItemAtCut[]> {
    return this.#cuts.cutItems(cut, itemIds)
  }

  cutBucket(cut: string, bucket: number): Promise<readonly ItemAtCut[]> {
    return this.#cuts.cutBucket(cut, bucket)
  }

  endCut(cut: string): Promise<void> {
    return this.#cuts.endCut(cut)
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
   * Writes a checkpoint and puts it into another directory too, while serving: a replica can start on it. Copy the log
   * after it: a checkpoint ahead of its log is refused.
   * @throws FreshetError `storage-failed` | `storage-full`; `not-ready` when the replica is not whole
   */
  async exportTo(directory: string): Promise<void> {
    this.#requireWhole()
    await this.#checkpoints.exportTo(new ShardFiles(directory, this.#options.onDiskStep))
  }

  /** Resolves once nothing is being merged any more, nor waits to be. */
  async settled(): Promise<void> {
    await this.#content.index.settled()
  }

  /** Stops following, writes a checkpoint if anything changed, ends the search threads. Repeatable. */
  close(): Promise<void> {
    this.#closing ??= this.#close()
    return this.#closing
  }

  async #close(): Promise<void> {
    for (const timer of this.#timers) clearInterval(timer)
    await this.#follower.close()
    await this.#checkpoints.idle()
    if (this.#checkpoints.isBehind()) await this.#writeCheckpoint()
    this.#stopped = true
    this.#cuts.close()
    this.#wakeAll()
    await this.#checkpoints.idle()
    await this.#content.index.close()
    await this.#content.items.close()
  }

  #beginCut(partition: Partition, offset: Offset): DigestCut {
    this.#requireReady()
    const reached = this.#state.watermarks.get(partition)?.offset ?? -1
    if (reached < offset)
      throw new FreshetError('not-ready', `the watermark of partition ${partition} is ${reached}, below ${offset}`)
    return this.#content.items.beginCut(partition, offset)
  }

  #resultOf(request: ShardSearchRequest, { hits, plan, watermarks }: FoundItems): ShardSearchResult {
    const result = {
      hits,
      plan: plan.kind,
      watermarks: this.#watermarkOffsets(watermarks),
      indexAgeMs: this.#indexAgeMs(watermarks),
    }
    return request.explain === true ? { ...result, explain: plan } : result
  }

  /** After each slice of the log. */
  #noteApplied(): void {
    if (this.#failure !== null) throw this.#failure
    this.#noteCaughtUp()
    this.#noteLacking()
    for (const resolve of this.#afterSlice.splice(0)) resolve()
    const applied = this.#state.takeApplied()
    if (applied === null) return
    for (const partition of applied.watermarks) this.#waiters.wakePartition(partition)
    for (const [partition, items] of applied.items) this.#waiters.wakeItems(partition, items)
    this.#announce(applied.searchable)
  }

  #announce(found: readonly FoundItem[]): void {
    const { onSearchable, clock } = this.#options
    if (onSearchable === undefined || found.length === 0) return
    const atMs = clock()
    onSearchable(found.map(item => this.#announced(item, atMs)))
  }

  #announced({ item, itemId, title, digest }: FoundItem, atMs: number): SearchableItem {
    const { items } = this.#content
    return {
      itemId,
      title: title ?? items.attributesOf(item)?.title ?? '',
      digest: digest ?? ((items.objectsOf(item)?.imageDigests[0] ?? null) as ImageDigest | null),
      atMs,
    }
  }

  #noteCaughtUp(): void {
    for (const [partition, end] of this.#catchUpTo)
      if ((this.#state.next.get(partition) ?? 0) >= end) this.#catchUpTo.delete(partition)
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

  #startTimers(checkpointEveryMs: number | null): readonly NodeJS.Timeout[] {
    if (checkpointEveryMs === null) return []
    const every = (ms: number, isDue: () => boolean): NodeJS.Timeout =>
      setInterval(() => {
        if (!this.#checkpoints.isWriting && isDue()) void this.#writeCheckpoint()
      }, ms).unref()
    return [
      every(checkpointEveryMs, () => this.#checkpoints.isBehind()),
      every(mergedCheckMs, () => this.#checkpoints.holdsMerged()),
    ]
  }

  async #writeCheckpoint(): Promise<void> {
    if (!this.#isWhole()) return
    await this.#checkpoints.write().catch(thrown => this.#options.onAlarm(asFreshetError(thrown)))
  }

  #checkpointStatus(): ReplicaStatus['checkpoint'] {
    const { published } = this.#checkpoints
    if (published === null) return { writtenAtMs: null, bytes: 0 }
    return { writtenAtMs: published.writtenAtMs, bytes: totalBytes(filesOf(published)) }
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
    for (const resolve of this.#afterSlice.splice(0)) resolve()
    this.#waiters.wakeAll()
  }
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
