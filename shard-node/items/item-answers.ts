import { asOffset, type ItemId } from '../../schemas/ids.ts'
import type { ItemRegisters, ItemSnapshot, SearchFilter, ShardHit } from '../../schemas/shard-api.ts'
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
  const objects = view.objectsOf(item)
  if (objects === null || objects.objects[object] === undefined) return null
  const attributes = items.attributesOf(item)
  if (attributes === null || (filter !== undefined && !items.passes(item, filter))) return null
  const { snapshot, places } = answerOf(item, { items, attributes, objects })
  return { itemId: snapshot.itemId, similarity: score, object: places[object]!, item: snapshot }
}

/** What hits tell of an item whatever was searched for. */
interface ItemAnswer {
  readonly objects: ObjectsContent
  readonly snapshot: ItemSnapshot
  /** By object. */
  readonly places: readonly ShardHit['object'][]
}

interface ItemContent {
  readonly items: ItemStore
  readonly attributes: AttributesContent
  readonly objects: ObjectsContent
}

/** What was answered of items last, by their attributes as they are kept in memory: it goes with them. */
const answered = new WeakMap<AttributesContent, ItemAnswer>()

/** The very objects that were answered before, where nothing has changed: what is made of them can be kept by them. */
function answerOf(item: number, { items, attributes, objects }: ItemContent): ItemAnswer {
  const known = answered.get(attributes)
  if (known !== undefined && known.objects === objects && known.snapshot.stale === items.isStale(item)) return known
  const snapshot = snapshotOf(items.idOf(item), items.at(item), { attributes, objects })
  const places = objects.objects.map(({ box, label, image }) => ({ box, label, image }))
  const answer = { objects, snapshot, places }
  answered.set(attributes, answer)
  return answer
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
