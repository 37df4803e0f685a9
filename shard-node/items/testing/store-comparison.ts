import { expect } from 'vitest'
import { asFreshetError } from '../../../schemas/errors.ts'
import { asPartition, type ItemId, type TopicEpoch } from '../../../schemas/ids.ts'
import type { RegisterMutation } from '../../../schemas/mutation.ts'
import { objectsElement, setElement } from '../../../schemas/partition-digest.ts'
import type { SearchFilter } from '../../../schemas/shard-api.ts'
import type { ShardFiles } from '../../files/shard-files.ts'
import type { AllowedBits } from '../../vector-index.ts'
import { DiskItemStore, type ItemStoreTuning } from '../disk-item-store.ts'
import type { SavedItemLog } from '../item-log.ts'
import type { ItemRow } from '../item-store.ts'
import { PartitionDigests } from '../partition-digest.ts'
import { standingOf } from '../registers.ts'
import { ItemModel, type ModelItem, RowsModel } from './item-model.ts'

const epoch = '00000000000000aa' as TopicEpoch
const partition = asPartition(0)
/** Vectors of the test's mutations: two halves. */
const rowBytes = 4

/** A store beside a model of what it must hold. */
export class ModelledStore {
  readonly files: ShardFiles
  readonly #tuning: Partial<ItemStoreTuning>
  store: DiskItemStore
  model = new ItemModel()
  rows = new RowsModel(rowBytes)
  #appendTimeMs = 0

  private constructor(files: ShardFiles, tuning: Partial<ItemStoreTuning>, store: DiskItemStore) {
    this.files = files
    this.#tuning = tuning
    this.store = store
  }

  static async create(files: ShardFiles, tuning: Partial<ItemStoreTuning> = {}): Promise<ModelledStore> {
    return new ModelledStore(files, tuning, await openStore(files, null, tuning))
  }

  apply(mutation: RegisterMutation): void {
    this.model.apply(mutation)
    this.store.apply(mutation, { partition, appendTimeMs: ++this.#appendTimeMs }, this.rows)
  }

  /** Applies it as soon as the store takes it, as whoever follows the mutation log does. */
  async applyAgain(mutation: RegisterMutation): Promise<void> {
    const { model } = this
    this.model = model.copy()
    try {
      this.apply(mutation)
    } catch (thrown) {
      if (asFreshetError(thrown).code !== 'storage-full') throw thrown
      this.model = model
      await this.store.settled().catch(() => {})
      await this.applyAgain(mutation)
    }
  }

  async flush(): Promise<FlushPoint> {
    const point = { model: this.model.copy(), rows: this.rows.copy() }
    return { ...point, saved: await this.store.flush() }
  }

  async reopen({ saved, model, rows }: FlushPoint): Promise<void> {
    await this.store.close()
    this.store = await openStore(this.files, saved, this.#tuning)
    this.model = model.copy()
    this.rows = rows.copy()
  }

  /** Holds everything that can be asked of the store against the model. */
  async requireSame(filters: readonly SearchFilter[] = []): Promise<void> {
    const { store, model } = this
    const items = [...store.items()]
    expect(items.map(({ item }) => store.idOf(item)).sort()).toEqual([...model.items.keys()].sort())
    for (const row of items) this.#requireSameItem(row, model.items.get(store.idOf(row.item))!)
    this.#requireSameSums()
    for (const filter of filters) this.#requireSameAllowed(filter, await store.allowed(filter))
  }

  #requireSameItem(row: ItemRow, expected: ModelItem): void {
    const { store } = this
    const { attributes, objects, failure, itemId, ...offsets } = expected
    const { item } = row
    expect(store.find(itemId)).toEqual(row)
    expect(row).toMatchObject(offsets)
    expect([row.hasAttributes, row.hasObjects, row.hasFailure]).toEqual(
      [attributes, objects, failure].map(content => content !== null),
    )
    expect(store.attributesOf(item)).toEqual(attributes)
    expect(store.objectsOf(item)).toEqual(objects)
    expect(store.failureOf(item)).toEqual(failure)
    this.#requireSameRows(row, objects?.objects.length ?? 0)
  }

  #requireSameRows(row: ItemRow, count: number): void {
    const set = this.rows.sets.get(row.item)
    expect(row.objectCount).toBe(count)
    expect(set !== undefined).toBe(row.hasObjects)
    if (set === undefined) return
    const { firstRow, rows, visible } = set
    expect({ firstRow, rows, visible }).toEqual({ firstRow: row.firstRow, rows: count, visible: row.hasAttributes })
    const standing = visible ? 'visible' : 'hidden'
    const asked = [firstRow - 1, firstRow, firstRow + rows - 1, firstRow + rows]
    expect(asked.map(ordinal => this.store.setLookup(row.item, ordinal))).toEqual([
      'garbage',
      standing,
      standing,
      'garbage',
    ])
  }

  #requireSameSums(): void {
    const { store, model } = this
    const counts = { searchable: 0, pending: 0, failed: 0, deleted: 0, unknown: 0 }
    const digests = new PartitionDigests()
    let rows = 0
    for (const item of model.items.values()) {
      const standing = standingOf(item)
      counts[standing]++
      rows += item.objects?.objects.length ?? 0
      const { idHash } = store.find(item.itemId)!
      if (item.attributes !== null) digests.set.add(idHash, setElement(item.itemId, epoch, item.attributesOffset))
      if (standing === 'searchable')
        digests.objects.add(idHash, objectsElement(item.itemId, item.objects!.imageIdentity))
    }
    expect(store.counts).toEqual(counts)
    expect(store.currentRows).toBe(rows)
    expect(store.digests.get(partition)!.buckets()).toEqual(digests.buckets())
    expect(store.digests.get(partition)!.total()).toEqual(digests.total())
  }

  #requireSameAllowed(filter: SearchFilter, allowed: AllowedBits): void {
    const { store, model } = this
    const passing: ItemId[] = model.passing(filter).sort()
    const isAllowed = (item: number): boolean => ((allowed.bits[item >>> 5]! >>> (item & 31)) & 1) === 1
    const items = [...store.items()].map(({ item }) => item)
    const idsOf = (chosen: readonly number[]): ItemId[] => chosen.map(item => store.idOf(item)).sort()
    expect(idsOf(items.filter(isAllowed))).toEqual(passing)
    expect(idsOf(items.filter(item => store.passes(item, filter)))).toEqual(passing)
    expect(allowed.count).toBe(passing.length)
  }
}

/** What a checkpoint would keep. */
export interface FlushPoint {
  readonly saved: SavedItemLog
  readonly model: ItemModel
  readonly rows: RowsModel
}

export function openStore(
  files: ShardFiles,
  saved: SavedItemLog | null,
  tuning: Partial<ItemStoreTuning> = {},
): Promise<DiskItemStore> {
  return DiskItemStore.open({ files, saved, epoch, partitions: [partition], tuning })
}
