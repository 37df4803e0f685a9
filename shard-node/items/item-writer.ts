import type { AttributesPut, ItemRemoved, ObjectsPut, RegisterMutation, WorkFailed } from '../../schemas/mutation.ts'
import { type DigestElement, objectsElement } from '../../schemas/partition-digest.ts'
import { tokensOfAttributes, tokensOfObjects } from './filter-tokens.ts'
import type { ItemLog } from './item-log.ts'
import { RecordEncoder, type WrittenRecord } from './item-record.ts'
import type { ItemRow, RowsOfItems } from './item-store.ts'
import type { ItemTable, Placed } from './item-table.ts'
import {
  attributesContent,
  failureContent,
  hasAttributes,
  hasObjects,
  objectsContent,
  type Registers,
} from './registers.ts'

/** A mutation that changes the item's registers: from `before` to `folded`. */
export interface ItemWrite<M extends RegisterMutation = RegisterMutation> {
  readonly mutation: M
  readonly before: ItemRow
  readonly folded: Registers
  readonly appendTimeMs: number
  readonly rows: RowsOfItems
}

type RecordFields = Partial<WrittenRecord> & Pick<WrittenRecord, 'type'>

const noElement: DigestElement = [0, 0, 0, 0]

/** Carries a change out: in the rows of the index, in the log, which names the rows, then in the table. */
export class ItemWriter {
  readonly #table: ItemTable
  readonly #log: ItemLog
  readonly #encoder = new RecordEncoder()

  constructor(table: ItemTable, log: ItemLog) {
    this.#table = table
    this.#log = log
  }

  write(write: ItemWrite): void {
    const { mutation } = write
    switch (mutation.type) {
      case 'AttributesPut':
        this.#putAttributes({ ...write, mutation })
        break
      case 'ObjectsPut':
        this.#putObjects({ ...write, mutation })
        break
      case 'ItemRemoved':
        this.#remove({ ...write, mutation })
        break
      case 'WorkFailed':
        this.#fail({ ...write, mutation })
        break
    }
  }

  forget(item: number): void {
    const { partition, removalOffset, removedAtMs } = this.#table.rowOf(item)
    const itemId = this.#table.idOf(item)
    this.#log.append(
      this.#encoder.encode({
        ...emptyRecord,
        type: 'forgotten',
        item,
        itemId,
        partition,
        offset: removalOffset,
        value: removedAtMs,
      }),
    )
    this.#table.release(item)
  }

  #putAttributes(write: ItemWrite<AttributesPut>): void {
    const { mutation, before, folded, rows } = write
    const content = hasAttributes(folded) ? attributesContent(mutation) : null
    if (content !== null && !before.hasAttributes) rows.setVisible(before.item, true)
    const available = content?.available ?? false
    const price = content?.price ?? Number.NaN
    const tokens = content === null ? [] : tokensOfAttributes(content)
    const placed = this.#append(write, { type: 'attributes', flag: available, value: price, words: tokens, content })
    this.#table.writeAttributes(before.item, { ...placed, offset: mutation.version.offset, available, price, tokens })
  }

  #putObjects(write: ItemWrite<ObjectsPut>): void {
    const { mutation, before, folded, rows } = write
    const { offset } = mutation.version
    const content = hasObjects(folded) ? objectsContent(mutation) : null
    const objectCount = content?.objects.length ?? 0
    const element = content === null ? noElement : objectsElement(mutation.itemId, content.imageIdentity)
    const imageTokens = content === null ? [] : tokensOfObjects(content)
    const set = { vectors: joinedVectors(mutation), visible: before.hasAttributes }
    const firstRow = content === null ? 0 : rows.put(before.item, set)
    const words = content === null ? [] : [...Array.from(element), ...imageTokens]
    const placed = this.#append(write, { type: 'objects', value: firstRow, objectCount, words, content })
    this.#table.writeObjects(before.item, { ...placed, offset, firstRow, objectCount, element, imageTokens })
  }

  #remove(write: ItemWrite<ItemRemoved>): void {
    const { before, folded, rows } = write
    const { removalOffset, removedAtMs } = folded
    if (before.hasObjects && !hasObjects(folded)) rows.remove(before.item)
    else if (before.hasAttributes && !hasAttributes(folded)) rows.setVisible(before.item, false)
    const { at } = this.#append(write, { type: 'removal', value: removedAtMs })
    this.#table.writeRemoval(before.item, { offset: removalOffset, removedAtMs, at })
  }

  #fail(write: ItemWrite<WorkFailed>): void {
    const { mutation, before, folded } = write
    const { retryable, attempts } = mutation
    const report = folded.failureReport
    const content = report === null ? null : failureContent(mutation)
    const placed = this.#append(write, { type: 'failure', flag: retryable, value: attempts, content })
    this.#table.writeFailure(before.item, { ...placed, offset: mutation.version.offset, report })
  }

  #append({ mutation, before, appendTimeMs }: ItemWrite, fields: RecordFields): Placed {
    const { item, partition } = before
    const { itemId, version } = mutation
    const { offset } = version
    const record = this.#encoder.encode({ ...emptyRecord, item, partition, itemId, offset, appendTimeMs, ...fields })
    return { at: this.#log.append(record), bytes: record.length }
  }
}

const emptyRecord = {
  appendTimeMs: 0,
  flag: false,
  value: 0,
  objectCount: 0,
  words: [],
  content: null,
}

/** Vectors of the objects one after another. */
function joinedVectors({ objects }: ObjectsPut): Uint8Array {
  if (objects.length === 1) return objects[0]!.vector
  const joined = new Uint8Array(objects.reduce((bytes, { vector }) => bytes + vector.length, 0))
  let at = 0
  for (const { vector } of objects) {
    joined.set(vector, at)
    at += vector.length
  }
  return joined
}
