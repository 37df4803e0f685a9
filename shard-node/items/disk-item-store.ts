import { setImmediate as nextTurn } from 'node:timers/promises'
import type { ItemAttributes } from '../../schemas/catalog-event.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { ImageDigest, ItemId, Offset, Partition, TopicEpoch } from '../../schemas/ids.ts'
import type { RegisterMutation } from '../../schemas/mutation.ts'
import { type DigestElement, setElement } from '../../schemas/partition-digest.ts'
import type { SearchFilter } from '../../schemas/shard-api.ts'
import type { ShardFiles } from '../files/shard-files.ts'
import type { AllowedBits } from '../vector-index.ts'
import { ClockCache } from './clock-cache.ts'
import { type DigestCut, DigestCuts } from './digest-cuts.ts'
import { FilterBits } from './filter-bits.ts'
import { imageToken } from './filter-tokens.ts'
import { type ItemAnswer, itemAnswer } from './item-answers.ts'
import { ItemContents } from './item-contents.ts'
import { contentMatch } from './item-filter.ts'
import { ItemLog, type SavedItemLog } from './item-log.ts'
import { ItemLogCompaction } from './item-log-compaction.ts'
import { replay, sumDigests } from './item-replay.ts'
import type { ItemChange, ItemRow, ItemStore, ItemView, RowsOfItems } from './item-store.ts'
import { ItemTable } from './item-table.ts'
import { ItemWriter } from './item-writer.ts'
import { PartitionDigests } from './partition-digest.ts'
import {
  type AttributesContent,
  type FailureContent,
  fold,
  type ItemStanding,
  type ObjectsContent,
  unwritten,
} from './registers.ts'
import { type ReplacedObjects, ReplacedObjectsLog } from './replaced-objects.ts'

export interface DiskItemStoreOptions {
  readonly files: ShardFiles
  /** Null: no items yet. */
  readonly saved: SavedItemLog | null
  /** Of the catalog topic: part of the digests. */
  readonly epoch: TopicEpoch
  /** Those the shard owns, which have digests. */
  readonly partitions: readonly Partition[]
  readonly tuning?: Partial<ItemStoreTuning>
}

export interface ItemStoreTuning {
  /** A file of the log is full at this many bytes. */
  readonly logFileBytes: number
  /** Replaced records are let be up to this many bytes, and half of what the others take. */
  readonly logGarbageBytes: number
  /** Decoded contents kept in memory. */
  readonly contentsKept: number
  /** Items of which what hits tell is kept in memory. */
  readonly answersKept: number
}

const defaultTuning: ItemStoreTuning = {
  logFileBytes: 64 * 2 ** 20,
  logGarbageBytes: 4 * 2 ** 20,
  contentsKept: 4_096,
  answersKept: 16_384,
}
/** What an answer and its text take, against the records of its contents. */
const answerRatio = 4
/** What may wait for the disk before `settled` waits too. */
const waitingBytes = 4 * 2 ** 20
/** Items looked at, or forgotten, before the event loop gets its turn: a few milliseconds. */
const scannedPerSlice = 100_000
const forgottenPerSlice = 1_000

/** Registers and filter columns in memory, contents in a log on disk. */
export class DiskItemStore implements ItemStore {
  readonly #epoch: TopicEpoch
  readonly #table = new ItemTable()
  readonly #log: ItemLog
  readonly #contents: ItemContents
  /** By item, for as long as nothing is written to it. */
  readonly #answers: ClockCache<ItemAnswer>
  readonly #writer: ItemWriter
  readonly #compaction: ItemLogCompaction
  readonly #filters = new FilterBits(this.#table)
  readonly #matches = new WeakMap<SearchFilter, (content: ItemAttributes) => boolean>()
  readonly #replaced = new ReplacedObjectsLog()
  readonly #digests: ReadonlyMap<Partition, PartitionDigests>
  readonly #cuts = new DigestCuts(this.#table)

  private constructor({ epoch, partitions }: DiskItemStoreOptions, log: ItemLog, tuning: ItemStoreTuning) {
    this.#epoch = epoch
    this.#log = log
    this.#contents = new ItemContents(log, tuning.contentsKept)
    this.#answers = new ClockCache(tuning.answersKept)
    this.#writer = new ItemWriter(this.#table, log)
    this.#compaction = new ItemLogCompaction(log, this.#table, tuning.logGarbageBytes)
    this.#digests = new Map(partitions.map(partition => [partition, new PartitionDigests()]))
  }

  /**
   * @throws FreshetError `checkpoint-corrupt` when a file is missing or not what was saved; `data-format` when another
   * version wrote it; `storage-failed`
   */
  static async open(options: DiskItemStoreOptions): Promise<DiskItemStore> {
    const tuning = { ...defaultTuning, ...options.tuning }
    const log = await ItemLog.open(options.files, options.saved, tuning.logFileBytes)
    const store = new DiskItemStore(options, log, tuning)
    try {
      await replay(log, store.#table)
      await sumDigests(store.#table, store.#digests, options.epoch)
      return store
    } catch (thrown) {
      await log.close()
      throw thrown
    }
  }

  get ties(): Uint32Array {
    return this.#table.columns.idHash
  }

  get counts(): Readonly<Record<ItemStanding, number>> {
    return this.#table.counts
  }

  get limit(): number {
    return this.#table.limit
  }

  /** Rows of all sets that count. */
  get currentRows(): number {
    return this.#table.currentRows
  }

  get memoryBytes(): number {
    const kept = this.#contents.memoryBytes + this.#answers.bytes
    return this.#table.memoryBytes + this.#filters.memoryBytes + this.#log.memoryBytes + kept
  }

  get diskBytes(): number {
    return this.#log.bytes
  }

  /** By partition the shard owns; kept up to date by `apply`. */
  get digests(): ReadonlyMap<Partition, PartitionDigests> {
    return this.#digests
  }

  /**
   * The partition as of now, for what the watermark says is applied up to `offset`; `endCut` it.
   * @throws FreshetError `bad-request` for a partition of others, or when too many items are ahead of the offset
   */
  beginCut(partition: Partition, offset: Offset): DigestCut {
    const digests = this.#digests.get(partition)
    if (digests === undefined) throw new FreshetError('bad-request', `partition ${partition} is not of this shard`)
    return this.#cuts.begin({ partition, offset }, digests)
  }

  endCut(cut: DigestCut): void {
    this.#cuts.end(cut)
  }

  find(itemId: ItemId): ItemRow | null {
    const { item } = this.#table.find(itemId)
    return item === -1 ? null : this.#table.rowOf(item)
  }

  at(item: number): ItemRow {
    this.#requireUsed(item)
    return this.#table.rowOf(item)
  }

  idOf(item: number): ItemId {
    this.#requireUsed(item)
    return this.#table.idOf(item)
  }

  /**
   * @throws FreshetError `storage-full` | `storage-failed` while the log cannot be written, `checkpoint-corrupt` when
   * it is damaged: nothing changed. `settled` tries again.
   */
  apply(
    mutation: RegisterMutation,
    { partition, appendTimeMs }: { readonly partition: Partition; readonly appendTimeMs: number },
    rows: RowsOfItems,
  ): ItemChange | null {
    this.#requireWritable()
    const known = this.#table.find(mutation.itemId)
    const registers = known.item === -1 ? unwritten : this.#table.registersOf(known.item)
    const folded = fold(registers, mutation)
    if (folded === registers) return null
    const item = known.item === -1 ? this.#table.claim(mutation.itemId, known.hash, partition) : known.item
    const before = this.#table.rowOf(item)
    const objects = this.#currentObjects(before)
    const element = before.standing === 'searchable' ? this.#table.elementOf(item) : null
    this.#cuts.note(item)
    this.#answers.delete(item)
    this.#writer.write({ mutation, before, folded, appendTimeMs, rows })
    const after = this.#table.rowOf(item)
    if (attributesDiffer(before, after)) this.#followAttributes(before, after)
    if (objects !== null && objectsDiffer(before, after)) this.#replaced.note(item, objects)
    this.#exchangeElement(element, after)
    this.#compaction.start()
    return { item, before, after }
  }

  attributesOf(item: number): AttributesContent | null {
    const { columns } = this.#table
    this.#requireUsed(item)
    if (!columns.hasAttributes(item)) return null
    return this.#contents.read({ at: columns.attributesAt[item]!, bytes: columns.attributesBytes[item]! })
  }

  objectsOf(item: number): ObjectsContent | null {
    const { columns } = this.#table
    this.#requireUsed(item)
    if (!columns.hasObjects(item)) return null
    return this.#contents.read({ at: columns.objectsAt[item]!, bytes: columns.objectsBytes[item]! })
  }

  failureOf(item: number): FailureContent | null {
    this.#requireUsed(item)
    const failure = this.#table.failureOf(item)
    return failure === null || failure.report === null ? null : this.#contents.read(failure)
  }

  allowed(filter: SearchFilter): Promise<AllowedBits> {
    return this.#filters.allowed(filter)
  }

  passes(item: number, filter: SearchFilter): boolean {
    const content = this.#answers.get(item)?.snapshot ?? this.attributesOf(item)
    let matches = this.#matches.get(filter)
    if (matches === undefined) {
      matches = contentMatch(filter)
      this.#matches.set(filter, matches)
    }
    return content !== null && matches(content)
  }

  /** What a row is to the item it was written for: for the recovery of the index. */
  setLookup(item: number, ordinal: number): 'visible' | 'hidden' | 'garbage' {
    const { columns } = this.#table
    if (!columns.hasObjects(item)) return 'garbage'
    const first = columns.firstRow[item]!
    if (ordinal < first || ordinal >= first + columns.objectCount[item]!) return 'garbage'
    return columns.hasAttributes(item) ? 'visible' : 'hidden'
  }

  *items(): Generator<ItemRow, void, undefined> {
    for (let item = 0; item < this.#table.limit; item++)
      if (this.#table.columns.isUsed(item)) yield this.#table.rowOf(item)
  }

  /** Which of these images an item that is not removed refers to; one in millions that none does may be among them. */
  referenced(digests: readonly ImageDigest[]): ReadonlySet<ImageDigest> {
    const found = this.#table.foundTokens(new Set(digests.map(imageToken)))
    return new Set(digests.filter(digest => found.has(imageToken(digest))))
  }

  /**
   * Forgets items removed before `removedBeforeMs` by an event that `isComplete` says the watermark has passed: no
   * older write of them can come any more. In slices. Resolves to how many; rejects like `apply`.
   */
  async forgetRemoved(removedBeforeMs: number, isComplete: (item: ItemRow) => boolean): Promise<number> {
    this.#table.restNumbers()
    if (this.#table.counts.deleted === 0) return 0
    let forgotten = 0
    for (let item = 0; item < this.#table.limit; item++) {
      if (item % scannedPerSlice === scannedPerSlice - 1) await nextTurn()
      if (!this.#isForgettable(item, removedBeforeMs) || !isComplete(this.#table.rowOf(item))) continue
      this.#requireWritable()
      this.#cuts.note(item)
      this.#answers.delete(item)
      this.#writer.forget(item)
      if (++forgotten % forgottenPerSlice === 0) await this.settled()
    }
    return forgotten
  }

  /** The objects of items as of now, for the answers of searches sent now; `end` it when they are answered. */
  view(): ItemView {
    const view = this.#replaced.begin()
    const isGone = (item: number, replaced: ReplacedObjects): boolean =>
      replaced.offset <= this.at(item).removalOffset || !this.#log.holds(replaced.at)
    return {
      answerOf: item => {
        const replaced = this.#replaced.find(item, view)
        if (replaced === null) return this.#answerOf(item)
        if (!this.#table.columns.isUsed(item) || isGone(item, replaced)) return null
        return this.#newAnswer(item, this.#contents.read(replaced))
      },
      hasReturned: item => {
        if (!this.#table.columns.isUsed(item)) return false
        const replaced = this.#replaced.find(item, view)
        return replaced !== null && isGone(item, replaced) && this.at(item).standing === 'searchable'
      },
      end: () => this.#replaced.end(view),
    }
  }

  /**
   * Resolves once little waits to be written and the log is not mostly garbage: call it between batches. Rejects like
   * `apply`, after trying again.
   */
  async settled(): Promise<void> {
    await this.#log.settle(waitingBytes)
    await this.#compaction.keepUp()
    this.#requireWritable()
  }

  /** Makes everything applied before the call durable and names it. @throws FreshetError `storage-full` | `storage-failed` */
  flush(): Promise<SavedItemLog> {
    return this.#log.flush()
  }

  /** Files that are read; others named `items-<n>` may go when no manifest names them. */
  filesInUse(): readonly string[] {
    return this.#log.fileNames
  }

  /** Stops compaction and closes the files; what is not flushed is lost. */
  async close(): Promise<void> {
    await this.#compaction.stop()
    await this.#log.close()
  }

  #answerOf(item: number): ItemAnswer | null {
    const known = this.#answers.get(item)
    if (known !== undefined) return known
    const { columns } = this.#table
    const objects = columns.isUsed(item) ? this.objectsOf(item) : null
    const answer = objects && this.#newAnswer(item, objects)
    if (answer === null) return null
    const bytes = columns.attributesBytes[item]! + columns.objectsBytes[item]!
    this.#answers.add(item, answer, bytes * answerRatio)
    return answer
  }

  #newAnswer(item: number, objects: ObjectsContent): ItemAnswer | null {
    const attributes = this.attributesOf(item)
    return attributes && itemAnswer(this.idOf(item), this.at(item), { attributes, objects })
  }

  #requireWritable(): void {
    const failure = this.#log.failure ?? this.#compaction.failure
    if (failure !== null) throw failure
  }

  #requireUsed(item: number): void {
    if (!this.#table.columns.isUsed(item)) throw new FreshetError('internal', `there is no item ${item}`)
  }

  #currentObjects({ item, hasObjects, objectsOffset }: ItemRow): ReplacedObjects | null {
    const { columns } = this.#table
    if (!hasObjects) return null
    return { offset: objectsOffset, at: columns.objectsAt[item]!, bytes: columns.objectsBytes[item]! }
  }

  #isForgettable(item: number, removedBeforeMs: number): boolean {
    const { columns } = this.#table
    if (!columns.isUsed(item) || columns.removalOffset[item] === -1) return false
    if (columns.hasAttributes(item) || columns.hasObjects(item)) return false
    return columns.removedAtMs[item]! < removedBeforeMs
  }

  #followAttributes(before: ItemRow, after: ItemRow): void {
    const { item, partition, idHash } = after
    this.#filters.update(item)
    const sums = this.#digests.get(partition)?.set
    for (const row of [before, after]) {
      if (!row.hasAttributes) continue
      const element = setElement(this.#table.idOf(item), this.#epoch, row.attributesOffset)
      if (row === before) sums?.subtract(idHash, element)
      else sums?.add(idHash, element)
    }
  }

  #exchangeElement(before: DigestElement | null, after: ItemRow): void {
    const { item, partition, idHash, standing } = after
    const sums = this.#digests.get(partition)?.objects
    if (before !== null) sums?.subtract(idHash, before)
    if (standing === 'searchable') sums?.add(idHash, this.#table.elementOf(item))
  }
}

function attributesDiffer(before: ItemRow, after: ItemRow): boolean {
  return before.hasAttributes !== after.hasAttributes || before.attributesOffset !== after.attributesOffset
}

function objectsDiffer(before: ItemRow, after: ItemRow): boolean {
  return before.hasObjects !== after.hasObjects || before.objectsOffset !== after.objectsOffset
}
