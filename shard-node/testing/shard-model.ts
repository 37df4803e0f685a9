import { createHash } from 'node:crypto'
import type { ItemId, Partition } from '../../schemas/ids.ts'
import type { AttributesPut, ItemRemoved, ObjectsPut, RegisterMutation, WorkFailed } from '../../schemas/mutation.ts'
import { murmur2, partitionOf } from '../../schemas/partition.ts'
import type {
  ItemRegisters,
  ItemSnapshot,
  PartitionDigest,
  ReplicaStatus,
  SearchFilter,
  ShardHit,
} from '../../schemas/shard-api.ts'
import { decodeF16 } from '../../schemas/unit-vector.ts'

/** What counts of an item at one moment; null where never written or beaten by the removal. */
export interface ItemMoment {
  /** Moment from which on this is so. */
  readonly from: number
  readonly attributes: AttributesPut | null
  readonly objects: ModelObjects | null
}

/** A set of objects with its vectors, decoded once. */
export interface ModelObjects {
  readonly put: ObjectsPut
  readonly vectors: readonly Float32Array[]
}

export interface ModelQuery {
  readonly vector: Float32Array
  readonly k: number
  readonly filter?: SearchFilter
  readonly excludeItem?: ItemId
}

/** Newest write of each register, and what counted since the oldest window that is open. */
class ModelItem {
  readonly id: ItemId
  readonly tie: number
  attributes: AttributesPut | null = null
  objects: ModelObjects | null = null
  removal: ItemRemoved | null = null
  failure: WorkFailed | null = null
  /** The last one is now. */
  moments: ItemMoment[]

  constructor(id: ItemId) {
    this.id = id
    this.tie = murmur2(Buffer.from(id)) >>> 0
    this.moments = [{ from: 0, attributes: null, objects: null }]
  }

  get now(): ItemMoment {
    return this.moments.at(-1)!
  }

  /** The failure that counts. */
  get standingFailure(): WorkFailed | null {
    return counts(this.failure, this.removal) ? this.failure : null
  }
}

/**
 * What a shard must answer, computed the plain way: a map of items, a scan of every vector, digests added up anew.
 * Shares no code with the shard but the hash of item ids. Vectors must be such that dot products are exact in f32
 * (see `gridVectors`): scores and the order of hits are then the same whichever way they are summed.
 */
export class ShardModel {
  readonly #items = new Map<ItemId, ModelItem>()
  readonly #partitionCount: number
  readonly #windows = new Set<{ readonly from: number }>()
  readonly #changed = new Set<ModelItem>()
  #moment = 0

  constructor(partitionCount: number) {
    this.#partitionCount = partitionCount
  }

  /** Grows with each mutation. */
  get moment(): number {
    return this.#moment
  }

  get itemIds(): readonly ItemId[] {
    return [...this.#items.keys()]
  }

  /** Newest version of each register, in any order of writes. */
  apply(mutation: RegisterMutation): void {
    const item = this.#items.get(mutation.itemId) ?? new ModelItem(mutation.itemId)
    this.#items.set(mutation.itemId, item)
    this.#moment++
    switch (mutation.type) {
      case 'AttributesPut':
        if (isNewer(mutation, item.attributes)) item.attributes = mutation
        break
      case 'ObjectsPut':
        if (isNewer(mutation, item.objects?.put ?? null))
          item.objects = { put: mutation, vectors: mutation.objects.map(object => decodeF16(object.vector)) }
        break
      case 'ItemRemoved':
        if (isNewer(mutation, item.removal)) item.removal = mutation
        break
      case 'WorkFailed':
        if (isNewer(mutation, item.failure) || isFinalReportOf(mutation, item.failure)) item.failure = mutation
        break
    }
    const attributes = counts(item.attributes, item.removal) ? item.attributes : null
    const objects = counts(item.objects?.put ?? null, item.removal) ? item.objects : null
    if (attributes === item.now.attributes && objects === item.now.objects) return
    item.moments.push({ from: this.#moment, attributes, objects })
    this.#changed.add(item)
  }

  /** Best first: higher score, then lower tie, of each item's best object. */
  search({ vector, k, filter = {}, excludeItem }: ModelQuery): ShardHit[] {
    const found: { readonly item: ModelItem; readonly hit: ShardHit }[] = []
    for (const item of this.#items.values()) {
      if (item.id === excludeItem || !isShown(item.now) || !passes(item.now.attributes, filter)) continue
      found.push({ item, hit: this.#bestHit(item, vector) })
    }
    found.sort((a, b) => b.hit.similarity - a.hit.similarity || a.item.tie - b.item.tie)
    return found.slice(0, k).map(({ hit }) => hit)
  }

  /**
   * Items that a search of unlimited k had to return at every moment since `from`, whichever of their sets it saw, and
   * the lowest score that one of these sets gives.
   */
  *alwaysMatching(
    { vector, filter = {}, excludeItem }: Omit<ModelQuery, 'k'>,
    from: number,
  ): Generator<readonly [ItemId, number]> {
    for (const item of this.#items.values()) {
      if (item.id === excludeItem || !isShown(item.now)) continue
      const score = lowestScore(item.now.from <= from ? [item.now] : momentsOf(item, from), vector, filter)
      if (score !== null) yield [item.id, score]
    }
  }

  /** The hit that this object of the item would be now; null when the item has no such object or is not searchable. */
  hitOf(itemId: ItemId, object: number, query: Float32Array): ShardHit | null {
    const item = this.#items.get(itemId)
    if (item === undefined || !isShown(item.now) || item.now.objects.vectors[object] === undefined) return null
    return this.#hit(item, object, dotOf(query, item.now.objects.vectors[object]))
  }

  /** Of the objects that can be found. */
  vectorsOf(itemId: ItemId): readonly Float32Array[] {
    const now = this.#items.get(itemId)?.now
    return now !== undefined && isShown(now) ? now.objects.vectors : []
  }

  /** Without watermark and times. */
  registers(itemId: ItemId): Omit<ItemRegisters, 'watermark' | 'times'> {
    const item = this.#items.get(itemId) ?? new ModelItem(itemId)
    const { now, standingFailure: failure } = item
    const objects = isShown(now) ? now.objects.put.objects : []
    return {
      attributes: offsetOf(item.attributes),
      objects: offsetOf(item.objects?.put),
      removal: offsetOf(item.removal),
      failure: offsetOf(item.failure),
      failureDetail: failure && { code: failure.code, message: failure.message, retryable: failure.retryable },
      searchable: isShown(now),
      objectList: objects.map(({ box, label, score, image }) => ({ box, label, score, image })),
      snapshot: now.attributes && this.#snapshot(item),
    }
  }

  counts(): ReplicaStatus['items'] {
    const counted = { searchable: 0, pending: 0, failed: 0, deleted: 0 }
    for (const item of this.#items.values()) {
      if (isShown(item.now)) counted.searchable++
      else if (item.now.attributes !== null) counted[item.standingFailure === null ? 'pending' : 'failed']++
      else if (item.removal !== null) counted.deleted++
    }
    return counted
  }

  /** Rows that a search may return. */
  rows(): number {
    let rows = 0
    for (const { now } of this.#items.values()) if (isShown(now)) rows += now.objects.vectors.length
    return rows
  }

  /** Of every partition, from scratch: FORMAT.md, "digests". */
  digests(): Record<string, PartitionDigest> {
    const sums = Array.from({ length: this.#partitionCount }, () => ({ set: 0n, objects: 0n }))
    for (const { id, now } of this.#items.values()) {
      const sum = sums[partitionOf(id, this.#partitionCount)]!
      const { attributes } = now
      if (attributes === null) continue
      sum.set += elementHash(`s${id}\0${attributes.version.epoch}\0${attributes.version.offset}`)
      if (isShown(now)) sum.objects += elementHash(`o${id}\0${now.objects.put.imageIdentity}`)
    }
    return Object.fromEntries(
      sums.map(({ set, objects }, partition) => [partition, { set: hex(set), objects: hex(objects) }]),
    )
  }

  /** Keeps what was so at `from` or later until the window is closed. */
  openWindow(from: number): { readonly from: number } {
    const window = { from }
    this.#windows.add(window)
    return window
  }

  closeWindow(window: { readonly from: number }): void {
    this.#windows.delete(window)
  }

  /** Forgets what was so before `settled` and every open window. */
  forget(settled: number): void {
    const from = Math.min(settled, ...[...this.#windows].map(window => window.from))
    for (const item of this.#changed) {
      const first = item.moments.findLastIndex(moment => moment.from <= from)
      item.moments = item.moments.slice(Math.max(0, first))
      if (item.moments.length === 1) this.#changed.delete(item)
    }
  }

  /** What the item was at any moment since `from`. */
  momentsSince(itemId: ItemId, from: number): readonly ItemMoment[] {
    const moments = this.#items.get(itemId)?.moments ?? []
    return moments.slice(
      Math.max(
        0,
        moments.findLastIndex(moment => moment.from <= from),
      ),
    )
  }

  partitionOf(itemId: ItemId): Partition {
    return partitionOf(itemId, this.#partitionCount)
  }

  #bestHit(item: ModelItem, query: Float32Array): ShardHit {
    const scores = item.now.objects!.vectors.map(vector => dotOf(query, vector))
    const best = scores.indexOf(Math.max(...scores))
    return this.#hit(item, best, scores[best]!)
  }

  #hit(item: ModelItem, object: number, similarity: number): ShardHit {
    const { box, label, image } = item.now.objects!.put.objects[object]!
    return { itemId: item.id, similarity, object: { box, label, image }, item: this.#snapshot(item) }
  }

  #snapshot(item: ModelItem): ItemSnapshot {
    const { attributes, objects } = item.now
    const { title, category, price, currency, regions, available, images, version } = attributes!
    return {
      itemId: item.id,
      title,
      category,
      price,
      currency,
      regions,
      available,
      attributes: attributes!.attributes,
      images,
      imageDigests: objects?.put.imageDigests ?? [],
      stale: isShown(item.now) && offsetOf(item.failure) > item.now.objects.put.version.offset,
      version: version.offset,
    }
  }
}

export function isShown(
  moment: ItemMoment,
): moment is { readonly from: number; readonly attributes: AttributesPut; readonly objects: ModelObjects } {
  return moment.attributes !== null && moment.objects !== null
}

export function passes(attributes: AttributesPut, filter: SearchFilter): boolean {
  const { category, region, available, price } = filter
  if (category !== undefined && !category.includes(attributes.category)) return false
  if (region !== undefined && !region.some(name => attributes.regions.includes(name))) return false
  if (available !== undefined && attributes.available !== available) return false
  if (price !== undefined && attributes.price === null) return false
  if (price?.min !== undefined && attributes.price! < price.min) return false
  if (price?.max !== undefined && attributes.price! > price.max) return false
  return Object.entries(filter.attributes ?? {}).every(([name, values]) =>
    values.includes(attributes.attributes[name]!),
  )
}

export function dotOf(a: Float32Array, b: Float32Array): number {
  let sum = 0
  for (let i = 0; i < a.length; i++) sum += a[i]! * b[i]!
  return sum
}

function momentsOf({ moments }: ModelItem, from: number): readonly ItemMoment[] {
  return moments.slice(
    Math.max(
      0,
      moments.findLastIndex(moment => moment.from <= from),
    ),
  )
}

/** Null when the item did not match at one of the moments. */
function lowestScore(moments: readonly ItemMoment[], query: Float32Array, filter: SearchFilter): number | null {
  let lowest = Number.POSITIVE_INFINITY
  for (const moment of moments) {
    if (!isShown(moment) || !passes(moment.attributes, filter)) return null
    lowest = Math.min(lowest, bestScore(moment.objects, query))
  }
  return lowest
}

function bestScore({ vectors }: ModelObjects, query: Float32Array): number {
  let best = Number.NEGATIVE_INFINITY
  for (const vector of vectors) best = Math.max(best, dotOf(query, vector))
  return best
}

function isNewer(mutation: RegisterMutation, held: RegisterMutation | null): boolean {
  return mutation.version.offset > offsetOf(held)
}

/** Of one version, given up beats still being retried. */
function isFinalReportOf(failed: WorkFailed, held: WorkFailed | null): boolean {
  return held?.version.offset === failed.version.offset && held.retryable && !failed.retryable
}

function counts(mutation: RegisterMutation | null, removal: ItemRemoved | null): boolean {
  return mutation !== null && mutation.version.offset > offsetOf(removal)
}

function offsetOf(mutation: RegisterMutation | null | undefined): ItemRegisters['attributes'] {
  return (mutation?.version.offset ?? -1) as ItemRegisters['attributes']
}

/** First 16 bytes of the SHA-256 as a little-endian number. */
function elementHash(text: string): bigint {
  const bytes = createHash('sha256').update(text).digest().subarray(0, 16).reverse()
  return BigInt(`0x${bytes.toString('hex')}`)
}

function hex(sum: bigint): string {
  return (sum % 2n ** 128n).toString(16).padStart(32, '0')
}
