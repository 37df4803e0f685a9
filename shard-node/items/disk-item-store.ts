import { FreshetError } from '../../schemas/errors.ts'
import type { ImageDigest, ItemId, Partition, TopicEpoch } from '../../schemas/ids.ts'
import type { RegisterMutation } from '../../schemas/mutation.ts'
import type { SearchFilter } from '../../schemas/shard-api.ts'
import type { PartitionDigests } from '../partition-digest.ts'
import type { SavedFile } from '../segments/part.ts'
import type { AllowedBits } from '../vector-index.ts'
import type { ItemChange, ItemRow, ItemStore, ItemView, RowsOfItems } from './item-store.ts'
import type { AttributesContent, FailureContent, ItemStanding, ObjectsContent } from './registers.ts'

/** The item log as manifests name it: files in the order written; the last one may have grown since. */
export interface SavedItemLog {
  readonly files: readonly SavedFile[]
}

export interface DiskItemStoreOptions {
  readonly directory: string
  /** Null: no items yet. */
  readonly saved: SavedItemLog | null
  readonly epoch: TopicEpoch
  readonly partitions: readonly Partition[]
}

export class DiskItemStore implements ItemStore {
  declare readonly ties: Uint32Array
  declare readonly counts: Readonly<Record<ItemStanding, number>>
  declare readonly limit: number
  declare readonly memoryBytes: number
  declare readonly diskBytes: number
  /** Of the partitions the shard owns, kept up to date by `apply`. */
  declare readonly digests: ReadonlyMap<Partition, PartitionDigests>

  /** @throws FreshetError `checkpoint-corrupt` when a file is missing, shorter or other than saved; `storage-failed` */
  static async open(_options: DiskItemStoreOptions): Promise<DiskItemStore> {
    throw notYet()
  }

  find(_itemId: ItemId): ItemRow | null {
    throw notYet()
  }

  at(_item: number): ItemRow {
    throw notYet()
  }

  idOf(_item: number): ItemId {
    throw notYet()
  }

  /** @throws FreshetError `storage-full` | `storage-failed`, nothing changed, while the log cannot be written; `settled` tries again */
  apply(
    _mutation: RegisterMutation,
    _at: { readonly partition: Partition; readonly appendTimeMs: number },
    _rows: RowsOfItems,
  ): ItemChange | null {
    throw notYet()
  }

  attributesOf(_item: number): AttributesContent | null {
    throw notYet()
  }

  objectsOf(_item: number): ObjectsContent | null {
    throw notYet()
  }

  failureOf(_item: number): FailureContent | null {
    throw notYet()
  }

  allowed(_filter: SearchFilter): Promise<AllowedBits> {
    throw notYet()
  }

  passes(_item: number, _filter: SearchFilter): boolean {
    throw notYet()
  }

  /** What a row is to the item it was written for: for the recovery of the index. */
  setLookup(_item: number, _ordinal: number): 'visible' | 'hidden' | 'garbage' {
    throw notYet()
  }

  /** Every item, in slices of the caller's making. */
  items(): IterableIterator<ItemRow> {
    throw notYet()
  }

  /** Which of these images an item that is not removed refers to; in a billion, one more. */
  referenced(_digests: readonly ImageDigest[]): ReadonlySet<ImageDigest> {
    throw notYet()
  }

  /**
   * Forgets items removed before `removedBeforeMs` by an event that `isComplete` says the watermark has passed: no
   * older write of them can come any more. In slices. Resolves to how many.
   */
  async forgetRemoved(_removedBeforeMs: number, _isComplete: (item: ItemRow) => boolean): Promise<number> {
    throw notYet()
  }

  /** The objects of items as of now, for the answers of searches sent now; `end` it when they are answered. */
  view(): ItemView {
    throw notYet()
  }

  /** Resolves once little waits to be written: call it between batches. Rejects like `apply`, after trying again. */
  async settled(): Promise<void> {
    throw notYet()
  }

  /** Makes everything applied before the call durable and names it. @throws FreshetError `storage-full` | `storage-failed` */
  async flush(): Promise<SavedItemLog> {
    throw notYet()
  }

  /** Files that are read; others of the name `items-<n>` go when no manifest names them. */
  filesInUse(): readonly string[] {
    throw notYet()
  }

  /** Stops compaction and closes the files; what is not flushed is lost. */
  async close(): Promise<void> {
    throw notYet()
  }
}

function notYet(): FreshetError {
  return new FreshetError('internal', 'not there yet')
}
