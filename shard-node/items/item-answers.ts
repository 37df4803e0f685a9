import { asOffset, type ItemId } from '../../schemas/ids.ts'
import type { ItemRegisters, ItemSnapshot, SearchFilter, ShardHit } from '../../schemas/shard-api.ts'
import { ToldObject } from '../../schemas/shard-wire-hits.ts'
import type { IndexHit } from '../vector-index.ts'
import type { ItemRow, ItemStore, ItemView } from './item-store.ts'
import { type AttributesContent, isSearchable, isStale, type ObjectsContent } from './registers.ts'

export interface HitsOptions {
  readonly items: ItemStore
  /** Begun before the search was sent: the objects shown are the very ones that were searched. */
  readonly view: ItemView
  readonly filter: SearchFilter | undefined
}

export interface Hits {
  readonly hits: readonly ShardHit[]
  /** Found items that were removed since the search, or do not pass the filter. */
  readonly dropped: number
  /** Those of them that a search sent now finds, by other objects. */
  readonly returned: number
}

/** Hits with what is known of their items. */
export function hitsOf(found: readonly IndexHit[], options: HitsOptions): Hits {
  const hits: ShardHit[] = []
  let returned = 0
  for (const each of found) {
    const hit = hitOf(each, options)
    if (hit !== null) hits.push(hit)
    else if (options.view.hasReturned(each.item)) returned++
  }
  return { hits, dropped: found.length - hits.length, returned }
}

export function registersOf(
  items: ItemStore,
  itemId: ItemId,
  known: Pick<ItemRegisters, 'times'> & { readonly watermark: number },
): ItemRegisters {
  const { times } = known
  const watermark = asOffset(known.watermark)
  const row = items.find(itemId)
  if (row === null) return { ...neverWritten, watermark, times }
  const attributes = items.attributesOf(row.item)
  const objects = items.objectsOf(row.item)
  const failure = items.failureOf(row.item)
  return {
    attributes: asOffset(row.attributesOffset),
    objects: asOffset(row.objectsOffset),
    removal: asOffset(row.removalOffset),
    failure: asOffset(row.failureOffset),
    failureDetail: failure && { code: failure.code, message: failure.message, retryable: failure.retryable },
    searchable: isSearchable(row),
    objectList: (attributes && objects?.objects) ?? [],
    snapshot: attributes && snapshotOf(itemId, row, { attributes, objects }),
    watermark,
    times,
  }
}

const neverWritten = {
  attributes: asOffset(-1),
  objects: asOffset(-1),
  removal: asOffset(-1),
  failure: asOffset(-1),
  failureDetail: null,
  searchable: false,
  objectList: [],
  snapshot: null,
}

function hitOf({ item, object, score }: IndexHit, { items, view, filter }: HitsOptions): ShardHit | null {
  const answer = view.answerOf(item)
  const told = answer?.objects[object]
  if (answer === null || told === undefined) return null
  if (filter !== undefined && !items.passes(item, filter)) return null
  return { itemId: answer.snapshot.itemId, similarity: score, object: told, item: answer.snapshot }
}

/** What hits tell of an item whatever was searched for: the very objects of each answer, until the item changes. */
export interface ItemAnswer {
  readonly snapshot: ItemSnapshot
  readonly objects: readonly ToldObject[]
}

export function itemAnswer(
  itemId: ItemId,
  row: ItemRow,
  content: { readonly attributes: AttributesContent; readonly objects: ObjectsContent },
): ItemAnswer {
  const snapshot = snapshotOf(itemId, row, content)
  return { snapshot, objects: content.objects.objects.map(object => new ToldObject(object)) }
}

function snapshotOf(
  itemId: ItemId,
  row: ItemRow,
  { attributes, objects }: { readonly attributes: AttributesContent; readonly objects: ObjectsContent | null },
): ItemSnapshot {
  return {
    itemId,
    title: attributes.title,
    category: attributes.category,
    price: attributes.price,
    currency: attributes.currency,
    regions: attributes.regions,
    available: attributes.available,
    attributes: attributes.attributes,
    images: attributes.images,
    imageDigests: objects?.imageDigests ?? [],
    stale: isStale(row),
    version: asOffset(row.attributesOffset),
  }
}
