import { asOffset, type ImageDigest } from '../schemas/ids.ts'
import type { ItemRegisters, ItemSnapshot, ShardHit } from '../schemas/shard-api.ts'
import type { AttributesMatch } from './allowed-items.ts'
import type { ItemHits } from './item-index.ts'
import type { Item, ItemTable } from './item-table.ts'
import { type AttributesContent, type ItemState, isSearchable, isStale, type ObjectsContent } from './registers.ts'

/**
 * Hits with what is known of their items. Called the moment the thread's answer arrives: the objects shown are then
 * the very ones that were searched. An item that was removed meanwhile, or no longer passes the filter, is dropped.
 */
export function hitsOf(
  found: ItemHits,
  table: ItemTable,
  matches: AttributesMatch | null,
): { readonly hits: readonly ShardHit[]; readonly dropped: number } {
  const hits: ShardHit[] = []
  for (const { item: ordinal, object, score } of found.hits) {
    const item = table.at(ordinal)
    const hit = item === undefined ? null : hitOf(item, { object, score, matches })
    if (hit !== null) hits.push(hit)
  }
  return { hits, dropped: found.hits.length - hits.length }
}

export function registersOf(
  item: Item | undefined,
  known: Pick<ItemRegisters, 'times'> & { readonly watermark: number },
): ItemRegisters {
  const { times } = known
  const watermark = asOffset(known.watermark)
  if (item === undefined) return { ...neverWritten, watermark, times }
  const { shown: state } = item
  const { attributes, objects, failure } = state
  return {
    attributes: asOffset(state.attributesOffset),
    objects: asOffset(state.objectsOffset),
    removal: asOffset(state.removalOffset),
    failure: asOffset(state.failureOffset),
    failureDetail: failure && { code: failure.code, message: failure.message, retryable: failure.retryable },
    searchable: isSearchable(state),
    objectList: (attributes && objects?.objects) ?? [],
    snapshot: attributes && snapshotOf(state, attributes, objects),
    watermark,
    times,
  }
}

/** Which of these images the items that are not removed refer to, by digest or as uploaded blob. */
export function referencedImages(table: ItemTable, digests: readonly ImageDigest[]): ReadonlySet<ImageDigest> {
  const asked = new Set<string>(digests)
  const found = new Set<ImageDigest>()
  for (const { state } of table.items()) {
    const uploaded = state.attributes?.images.map(image => image.replace(/^blob:/, '')) ?? []
    for (const digest of [...(state.objects?.imageDigests ?? []), ...uploaded])
      if (asked.has(digest)) found.add(digest as ImageDigest)
  }
  return found
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

function hitOf(
  item: Item,
  found: { readonly object: number; readonly score: number; readonly matches: AttributesMatch | null },
): ShardHit | null {
  const { state, shown } = item
  const searched = shown.objects?.objects[found.object]
  if (searched === undefined || shown.objects === null || state.attributes === null) return null
  if (shown.objectsOffset <= state.removalOffset) return null
  if (found.matches !== null && !found.matches(state.attributes)) return null
  const { box, label, image } = searched
  return {
    itemId: state.itemId,
    similarity: found.score,
    object: { box, label, image },
    item: snapshotOf(state, state.attributes, shown.objects),
  }
}

function snapshotOf(state: ItemState, attributes: AttributesContent, objects: ObjectsContent | null): ItemSnapshot {
  return {
    itemId: state.itemId,
    title: attributes.title,
    category: attributes.category,
    price: attributes.price,
    currency: attributes.currency,
    regions: attributes.regions,
    available: attributes.available,
    attributes: attributes.attributes,
    images: attributes.images,
    imageDigests: objects?.imageDigests ?? [],
    stale: isStale(state),
    version: asOffset(state.attributesOffset),
  }
}
