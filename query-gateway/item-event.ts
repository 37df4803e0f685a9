import type { ItemDeleted, ItemUpserted } from '../schemas/catalog-event.ts'
import { FreshetError } from '../schemas/errors.ts'
import { DeletedItemLine, DeleteLine, Item, type ItemBody, UpsertLine } from '../schemas/http-items.ts'
import { type ItemId, parseItemId } from '../schemas/ids.ts'
import { type ShapeCheck, shapeCheck } from './shape-check.ts'

export type ItemEvent = ItemUpserted | ItemDeleted

const checkUpsertLine: ShapeCheck<typeof UpsertLine> = shapeCheck(UpsertLine)
const checkDeleteLine: ShapeCheck<typeof DeleteLine> = shapeCheck(DeleteLine)
const checkDeletedItemLine: ShapeCheck<typeof DeletedItemLine> = shapeCheck(DeletedItemLine)
const checkItem: ShapeCheck<typeof Item> = shapeCheck(Item)

/**
 * The event of an item whose shape was checked, with the defaults filled in.
 * @throws FreshetError `bad-item-id` | `bad-request` | `image-missing` | `image-scheme`
 */
export function upsertEvent(itemId: ItemId, body: ItemBody): ItemUpserted {
  return {
    type: 'ItemUpserted',
    itemId,
    images: imagesOf(body),
    imageVersion: body.imageVersion ?? '',
    refresh: body.refresh ?? false,
    title: body.title ?? '',
    category: body.category ?? '',
    price: body.price ?? null,
    currency: body.currency ?? '',
    regions: body.regions ?? [],
    available: body.available ?? true,
    attributes: attributesOf(body),
  }
}

export function deleteEvent(itemId: ItemId): ItemDeleted {
  return { type: 'ItemDeleted', itemId }
}

/** The event of one line of a bulk stream, as parsed from JSON. @throws FreshetError as `upsertEvent` */
export function bulkEvent(line: unknown): ItemEvent {
  if (typeof line === 'object' && line !== null) {
    if ('upsert' in line) {
      checkUpsertLine(line)
      return upsertEvent(parseItemId(line.upsert.itemId), line.upsert)
    }
    if ('delete' in line) {
      checkDeleteLine(line)
      return deleteEvent(parseItemId(line.delete.itemId))
    }
    if ('deleted' in line) {
      checkDeletedItemLine(line)
      return deleteEvent(parseItemId(line.itemId))
    }
  }
  checkItem(line)
  return upsertEvent(parseItemId(line.itemId), line)
}

function imagesOf({ imageUrl, images }: ItemBody): readonly string[] {
  if (imageUrl !== undefined && images !== undefined) throw wrong('imageUrl', 'give imageUrl or images, not both')
  const references = imageUrl === undefined ? (images ?? []) : [imageUrl]
  if (references.length === 0)
    throw new FreshetError('image-missing', 'images: an item needs at least one image reference')
  references.forEach((reference, index) => {
    if (isReference(reference)) return
    const field = imageUrl === undefined ? `images.${index}` : 'imageUrl'
    throw new FreshetError('image-scheme', `${field}: expected a URL of https:, http: or file:, or blob:<sha256>`, {
      details: { field },
    })
  })
  return references
}

function isReference(reference: string): boolean {
  if (reference.startsWith('blob:')) return /^blob:[0-9a-f]{64}$/.test(reference)
  return /^(https?|file):\/\//i.test(reference) && URL.canParse(reference)
}

/** JSON can carry a key that no plain object can hold safely. */
function attributesOf({ attributes = {} }: ItemBody): ItemUpserted['attributes'] {
  if (Object.hasOwn(attributes, '__proto__')) throw wrong('attributes.__proto__', 'this name is not allowed')
  return attributes
}

function wrong(field: string, reason: string): FreshetError {
  return new FreshetError('bad-request', `${field}: ${reason}`, { details: { field } })
}
