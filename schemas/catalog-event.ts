import type { ItemId, TopicEpoch } from './ids.ts'

export type AttributeValue = string | number | boolean

/** What the attributes register holds: everything of an item that is not a picture. */
export interface ItemAttributes {
  readonly title: string
  readonly category: string
  /** In units of `currency`; null when unknown. */
  readonly price: number | null
  /** ISO 4217 code, or empty. */
  readonly currency: string
  readonly regions: readonly string[]
  readonly available: boolean
  readonly attributes: Readonly<Record<string, AttributeValue>>
}

/** An upsert carries the item's full state, because the topic is compacted by item. */
export interface ItemUpserted extends ItemAttributes {
  readonly type: 'ItemUpserted'
  readonly itemId: ItemId
  /** Image references in order of importance: `https:`, `http:`, `blob:<sha256>`, `file:`. At least one. */
  readonly images: readonly string[]
  /** Same references, new bytes: change this. Empty when not used. */
  readonly imageVersion: string
  /** Fetch again even though the references are unchanged; same bytes cost no model run. */
  readonly refresh: boolean
}

export interface ItemDeleted {
  readonly type: 'ItemDeleted'
  readonly itemId: ItemId
}

/**
 * Key of the `TopicEpoch` record: a compacted topic takes no record without a key, and no item id holds a control
 * character.
 */
export const topicEpochKey = '\u0000topic-epoch'

/** First record of each partition of the catalog topic. */
export interface TopicEpochMarker {
  readonly type: 'TopicEpoch'
  readonly epoch: TopicEpoch
}

export type CatalogEvent = ItemUpserted | ItemDeleted | TopicEpochMarker

/**
 * Identity of an item's pictures: references and image version. Equal identities need no image work.
 * JSON of the parts, so that no separator inside a reference can make two identities collide.
 */
export function imageIdentity(event: Pick<ItemUpserted, 'images' | 'imageVersion'>): string {
  return JSON.stringify([event.imageVersion, ...event.images])
}

/** The image references of an identity made by `imageIdentity`. */
export function imagesOfIdentity(identity: string): readonly string[] {
  const [, ...images] = JSON.parse(identity) as readonly string[]
  return images
}
