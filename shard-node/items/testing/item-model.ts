import type { ItemId } from '../../../schemas/ids.ts'
import type { RegisterMutation } from '../../../schemas/mutation.ts'
import type { SearchFilter } from '../../../schemas/shard-api.ts'
import type { RowsOfItems } from '../item-store.ts'
import {
  type AttributesContent,
  attributesContent,
  type FailureContent,
  failureContent,
  type ObjectsContent,
  objectsContent,
} from '../registers.ts'

/** All that a shard is to know of an item, spelled out. */
export interface ModelItem {
  readonly itemId: ItemId
  attributesOffset: number
  objectsOffset: number
  removalOffset: number
  failureOffset: number
  removedAtMs: number
  attributes: AttributesContent | null
  objects: ObjectsContent | null
  failure: FailureContent | null
}

/** The rules of DESIGN section 3 on a plain map, with nothing clever. */
export class ItemModel {
  items = new Map<ItemId, ModelItem>()

  apply(mutation: RegisterMutation): void {
    const item = this.items.get(mutation.itemId) ?? unwrittenItem(mutation.itemId)
    this.items.set(mutation.itemId, item)
    const { offset } = mutation.version
    const counts = offset > item.removalOffset
    switch (mutation.type) {
      case 'AttributesPut':
        if (offset <= item.attributesOffset) return
        item.attributesOffset = offset
        item.attributes = counts ? attributesContent(mutation) : null
        return
      case 'ObjectsPut':
        if (offset <= item.objectsOffset) return
        item.objectsOffset = offset
        item.objects = counts ? objectsContent(mutation) : null
        return
      case 'ItemRemoved':
        if (!counts) return
        item.removalOffset = offset
        item.removedAtMs = mutation.acceptedAtMs
        if (item.attributesOffset <= offset) item.attributes = null
        if (item.objectsOffset <= offset) item.objects = null
        if (item.failureOffset <= offset) item.failure = null
        return
      case 'WorkFailed': {
        const { failure } = item
        const isSame = offset === item.failureOffset
        if (offset < item.failureOffset || (isSame && !isLater(mutation, failure))) return
        item.failureOffset = offset
        item.failure = counts ? failureContent(mutation) : null
        return
      }
    }
  }

  forgetRemoved(removedBeforeMs: number): void {
    for (const [id, { attributes, objects, removalOffset, removedAtMs }] of this.items)
      if (attributes === null && objects === null && removalOffset >= 0 && removedAtMs < removedBeforeMs)
        this.items.delete(id)
  }

  passing(filter: SearchFilter): ItemId[] {
    const passing: ItemId[] = []
    for (const { itemId, attributes } of this.items.values())
      if (attributes !== null && passes(attributes, filter)) passing.push(itemId)
    return passing
  }

  copy(): ItemModel {
    const copy = new ItemModel()
    copy.items = structuredClone(this.items)
    return copy
  }
}

/** Sets of rows as an index would hold them. */
export class RowsModel implements RowsOfItems {
  readonly sets = new Map<number, { firstRow: number; readonly rows: number; visible: boolean }>()
  readonly #rowBytes: number
  #next = 1

  constructor(rowBytes: number) {
    this.#rowBytes = rowBytes
  }

  copy(): RowsModel {
    const copy = new RowsModel(this.#rowBytes)
    for (const [item, set] of this.sets) copy.sets.set(item, { ...set })
    copy.#next = this.#next
    return copy
  }

  put(item: number, set: { readonly vectors: Uint8Array; readonly visible: boolean }): number {
    const firstRow = this.#next
    const rows = set.vectors.length / this.#rowBytes
    this.#next += rows
    this.sets.set(item, { firstRow, rows, visible: set.visible })
    return firstRow
  }

  setVisible(item: number, visible: boolean): void {
    const set = this.sets.get(item)
    if (set !== undefined) set.visible = visible
  }

  remove(item: number): void {
    this.sets.delete(item)
  }
}

function unwrittenItem(itemId: ItemId): ModelItem {
  return {
    itemId,
    attributesOffset: -1,
    objectsOffset: -1,
    removalOffset: -1,
    failureOffset: -1,
    removedAtMs: 0,
    attributes: null,
    objects: null,
    failure: null,
  }
}

function isLater(report: FailureContent, held: FailureContent | null): boolean {
  if (held === null) return false
  if (report.retryable !== held.retryable) return held.retryable
  return report.attempts > held.attempts
}

function passes(item: AttributesContent, { category, region, available, price, attributes }: SearchFilter): boolean {
  if (category !== undefined && !category.includes(item.category)) return false
  if (region !== undefined && !region.some(name => item.regions.includes(name))) return false
  if (available !== undefined && item.available !== available) return false
  if (price !== undefined) {
    if (item.price === null) return false
    if (price.min !== undefined && item.price < price.min) return false
    if (price.max !== undefined && item.price > price.max) return false
  }
  return Object.entries(attributes ?? {}).every(
    ([name, values]) => Object.hasOwn(item.attributes, name) && values.includes(item.attributes[name]!),
  )
}
