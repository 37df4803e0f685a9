import type { ItemState, ItemView, SearchResult } from '../schemas/http-search.ts'
import type { Generation } from '../schemas/ids.ts'
import type { ItemRegisters, ItemSnapshot } from '../schemas/shard-api.ts'
import type { RankedHit } from './shard-fanout.ts'

/** Detector class names are not for users: a lamp comes out as "toilet". */
const label = ''

export function itemView(snapshot: ItemSnapshot): ItemView {
  const { itemId, title, category, price, currency, regions, available, attributes, images, stale } = snapshot
  const blobs = snapshot.imageDigests.map(digest => `blob:${digest}`)
  const version = String(snapshot.version)
  return { itemId, title, category, price, currency, regions, available, attributes, images, blobs, stale, version }
}

/** null when the item is deleted or unknown. */
export function itemState(registers: ItemRegisters, generation: Generation): ItemState | null {
  if (registers.snapshot === null || registers.attributes <= registers.removal) return null
  const hasFailed = registers.failure > registers.objects && registers.failure > registers.removal
  return {
    ...itemView(registers.snapshot),
    generation,
    searchable: registers.searchable,
    objects: registers.objectList.map(({ box, score, image }) => ({ box, label, score, image })),
    failure: hasFailed ? registers.failureDetail : null,
  }
}

export interface ResultNotes {
  readonly score: number
  readonly explained: boolean
  /** Null when not re-ranked, or not explained. */
  readonly ranking: NonNullable<SearchResult['explain']>['ranking'] | null
  readonly alike: SearchResult['alike']
}

export function searchResult({ hit, plan, shard, replica }: RankedHit, notes: ResultNotes): SearchResult {
  const { itemId, similarity, object } = hit
  const { score, explained, ranking, alike } = notes
  const how = { similarity, plan, shard, replica, ...(ranking ? { ranking } : {}) }
  return {
    itemId,
    score,
    similarity,
    object: { box: object.box, label, image: object.image },
    item: itemView(hit.item),
    ...(alike === undefined ? {} : { alike }),
    ...(explained ? { explain: how } : {}),
  }
}

export function detectedObjects(
  objects: readonly { readonly box: ItemState['objects'][number]['box']; readonly score: number }[],
) {
  return objects.map(({ box, score }) => ({ box, label, score }))
}
