import { type Static, Type } from '@sinclair/typebox'
import { BoxShape, list } from './http-shape.ts'
import type { ItemId, Offset } from './ids.ts'
import type { Box } from './mutation.ts'
import type { ItemSnapshot, ShardHit, ShardSearchResult } from './shard-api.ts'
import { resultFields, snapshotFields } from './shard-shapes.ts'
import { codec, malformed, type WireCodec } from './shard-wire-codec.ts'

/**
 * The answer to one search on the wire: lines of JSON. A search is asked for hundreds of hits, of which a few dozen are
 * shown. So the first line has of each hit what hits are ranked and merged by, as a row without names; the rest of its
 * item is a line of its own, in the same order, and read only when somebody looks at it.
 */

/** Similarity; image, box and label of the object; then of the item. */
const HitRow = Type.Tuple([
  Type.Number(),
  Type.Integer({ minimum: 0 }),
  BoxShape,
  Type.String(),
  snapshotFields.itemId,
  snapshotFields.version,
  snapshotFields.title,
  snapshotFields.category,
  snapshotFields.price,
  snapshotFields.currency,
  snapshotFields.available,
  snapshotFields.imageDigests,
])
const ItemRest = Type.Tuple([
  snapshotFields.regions,
  snapshotFields.attributes,
  snapshotFields.images,
  snapshotFields.stale,
])
type HitRow = Static<typeof HitRow>
type ItemRest = Static<typeof ItemRest>

const FirstLine = Type.Unsafe<Omit<ShardSearchResult, 'hits'> & { readonly hits: readonly HitRow[] }>(
  Type.Object({ hits: list(HitRow), ...resultFields }),
)

const firstLineWire = codec(FirstLine, 'replica-unavailable')
const restWire = codec(ItemRest, 'replica-unavailable')

/** Items that are decoded throw `replica-unavailable` where their line is found to be malformed when it is read. */
export const searchResultWire: WireCodec<ShardSearchResult> = {
  encode: ({ hits, ...others }) => {
    let rows = ''
    let rests = ''
    for (const { similarity, object, item } of hits) {
      const { row, rest } = textsOf(item)
      rows += `${rows === '' ? '' : ','}[${JSON.stringify(similarity)},${placeText(object)},${row}]`
      rests += `\n${rest}`
    }
    return `{"hits":[${rows}],${JSON.stringify(others).slice(1)}${rests}`
  },
  decode: text => {
    const end = text.indexOf('\n')
    const { hits, ...others } = firstLineWire.decode(end === -1 ? text : text.slice(0, end))
    const lines = linesAfter(text, end)
    if (lines.length !== hits.length)
      throw malformed('replica-unavailable', `${lines.length} items of ${hits.length} hits`, 'hits')
    return { hits: hits.map((row, at) => hitOf(row, lines[at]!)), ...others }
  },
}

/** Lines of which each is a whole list, by its brackets. */
function linesAfter(text: string, end: number): readonly string[] {
  const lines: string[] = []
  for (let from = end; from !== -1; ) {
    const next = text.indexOf('\n', from + 1)
    const line = text.slice(from + 1, next === -1 ? text.length : next)
    if (!line.startsWith('[') || !line.endsWith(']'))
      throw malformed('replica-unavailable', `item ${lines.length} is no list`, `items.${lines.length}`)
    lines.push(line)
    from = next
  }
  return lines
}

function hitOf(row: HitRow, rest: string): ShardHit {
  const [similarity, image, box, label] = row
  const item = new WiredItem(row, rest)
  return { itemId: item.itemId, similarity, object: { box: box as Box, label, image }, item }
}

/** An item whose last fields are read from its line when the first of them is looked at. */
class WiredItem implements ItemSnapshot {
  readonly itemId: ItemId
  readonly version: Offset
  readonly title: string
  readonly category: string
  readonly price: number | null
  readonly currency: string
  readonly available: boolean
  readonly imageDigests: readonly string[]
  #rest: string | ItemRest

  constructor(row: HitRow, rest: string) {
    this.itemId = row[4] as ItemId
    this.version = row[5] as Offset
    this.title = row[6]
    this.category = row[7]
    this.price = row[8]
    this.currency = row[9]
    this.available = row[10]
    this.imageDigests = row[11]
    this.#rest = rest
  }

  get regions(): readonly string[] {
    return this.#read()[0]
  }

  get attributes(): ItemSnapshot['attributes'] {
    return this.#read()[1] as ItemSnapshot['attributes']
  }

  get images(): readonly string[] {
    return this.#read()[2]
  }

  get stale(): boolean {
    return this.#read()[3]
  }

  /** All fields, also those that are not read yet. */
  toJSON(): ItemSnapshot {
    const { regions, attributes, images, stale } = this
    return { ...this, regions, attributes, images, stale }
  }

  #read(): ItemRest {
    if (typeof this.#rest === 'string') this.#rest = restWire.decode(this.#rest)
    return this.#rest
  }
}

interface ItemTexts {
  readonly row: string
  readonly rest: string
}

/** A shard answers with the same object for as long as an item does not change: it is written once. */
const itemTexts = new WeakMap<ItemSnapshot, ItemTexts>()
const placeTexts = new WeakMap<ShardHit['object'], string>()

function textsOf(item: ItemSnapshot): ItemTexts {
  const known = itemTexts.get(item)
  if (known !== undefined) return known
  const { itemId, version, title, category, price, currency, available, imageDigests } = item
  const row = [itemId, version, title, category, price, currency, available, imageDigests]
  const rest = [item.regions, item.attributes, item.images, item.stale]
  const texts = { row: JSON.stringify(row).slice(1, -1), rest: JSON.stringify(rest) }
  itemTexts.set(item, texts)
  return texts
}

function placeText(object: ShardHit['object']): string {
  const known = placeTexts.get(object)
  if (known !== undefined) return known
  const text = JSON.stringify([object.image, object.box, object.label]).slice(1, -1)
  placeTexts.set(object, text)
  return text
}
