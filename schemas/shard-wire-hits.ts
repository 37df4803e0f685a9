import { type Static, Type } from '@sinclair/typebox'
import { BoxShape, list } from './http-shape.ts'
import type { ItemId, Offset } from './ids.ts'
import type { Box } from './mutation.ts'
import type { ItemSnapshot, ShardHit, ShardSearchResult } from './shard-api.ts'
import { resultFields, snapshotFields } from './shard-shapes.ts'
import { codec, malformed, type WireCodec } from './shard-wire-codec.ts'

/**
 * The answer to one search on the wire: lines of JSON. A search is asked for hundreds of hits, of which some dozens are
 * ranked and fewer shown. So the first line has of each hit only what answers are checked and merged by, field by
 * field. Each hit has two lines more, in the same order: what it is ranked by, and the rest of its item; each is read
 * only when somebody looks at it.
 */

const HitColumns = Type.Object({
  itemId: list(snapshotFields.itemId),
  similarity: list(Type.Number()),
  version: list(snapshotFields.version),
})
/** Image, box and label of the object; then of the item. */
const RankRow = Type.Tuple([
  Type.Integer({ minimum: 0 }),
  BoxShape,
  Type.String(),
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
type RankRow = Static<typeof RankRow>
type ItemRest = Static<typeof ItemRest>

const FirstLine = Type.Unsafe<Omit<ShardSearchResult, 'hits'> & { readonly hits: Static<typeof HitColumns> }>(
  Type.Object({ hits: HitColumns, ...resultFields }),
)

const firstLineWire = codec(FirstLine, 'replica-unavailable')
const rankWire = codec(RankRow, 'replica-unavailable')
const restWire = codec(ItemRest, 'replica-unavailable')

/** Hits that are decoded throw `replica-unavailable` where a line of theirs is found to be malformed when it is read. */
export const searchResultWire: WireCodec<ShardSearchResult> = {
  encode: ({ hits, ...others }) => {
    const columns = {
      itemId: hits.map(({ itemId }) => itemId),
      similarity: hits.map(({ similarity }) => similarity),
      version: hits.map(({ item }) => item.version),
    }
    let lines = ''
    for (const { object, item } of hits)
      lines += object instanceof ToldObject ? object.linesWith(item) : linesOf(object, item)
    return `${JSON.stringify({ hits: columns, ...others })}${lines}`
  },
  decode: text => {
    const end = text.indexOf('\n')
    const { hits, ...others } = firstLineWire.decode(end === -1 ? text : text.slice(0, end))
    const { itemId, similarity, version } = hits
    const lines = linesAfter(text, end)
    if (similarity.length !== itemId.length || version.length !== itemId.length || lines.length !== 2 * itemId.length)
      throw malformed('replica-unavailable', `${lines.length} lines of ${itemId.length} hits`, 'hits')
    return {
      hits: itemId.map((id, at): ShardHit => {
        const key = { itemId: id as ItemId, similarity: similarity[at]!, version: version[at] as Offset }
        return new WiredHit(key, lines[2 * at]!, lines[2 * at + 1]!)
      }),
      ...others,
    }
  },
}

/** Lines of which each is a whole list, by its brackets. */
function linesAfter(text: string, end: number): readonly string[] {
  const lines: string[] = []
  for (let from = end; from !== -1; ) {
    const next = text.indexOf('\n', from + 1)
    const line = text.slice(from + 1, next === -1 ? text.length : next)
    if (!line.startsWith('[') || !line.endsWith(']'))
      throw malformed('replica-unavailable', `line ${lines.length} is no list`, `lines.${lines.length}`)
    lines.push(line)
    from = next
  }
  return lines
}

/** What is known of a hit without reading its lines. */
interface HitKey {
  readonly itemId: ItemId
  readonly similarity: number
  readonly version: Offset
}

class WiredHit implements ShardHit {
  readonly itemId: ItemId
  readonly similarity: number
  readonly item: WiredItem

  constructor(key: HitKey, row: string, rest: string) {
    this.itemId = key.itemId
    this.similarity = key.similarity
    this.item = new WiredItem(key, row, rest)
  }

  get object(): ShardHit['object'] {
    return this.item.object
  }

  toJSON(): ShardHit {
    const { itemId, similarity, object, item } = this
    return { itemId, similarity, object, item }
  }
}

/** An item whose fields are read from its lines when the first of each is looked at. */
class WiredItem implements ItemSnapshot {
  readonly itemId: ItemId
  readonly version: Offset
  #row: string | RankRow
  #rest: string | ItemRest

  constructor({ itemId, version }: HitKey, row: string, rest: string) {
    this.itemId = itemId
    this.version = version
    this.#row = row
    this.#rest = rest
  }

  get object(): ShardHit['object'] {
    const [image, box, label] = this.#readRow()
    return { box: box as Box, label, image }
  }

  get title(): string {
    return this.#readRow()[3]
  }

  get category(): string {
    return this.#readRow()[4]
  }

  get price(): number | null {
    return this.#readRow()[5]
  }

  get currency(): string {
    return this.#readRow()[6]
  }

  get available(): boolean {
    return this.#readRow()[7]
  }

  get imageDigests(): readonly string[] {
    return this.#readRow()[8]
  }

  get regions(): readonly string[] {
    return this.#readRest()[0]
  }

  get attributes(): ItemSnapshot['attributes'] {
    return this.#readRest()[1] as ItemSnapshot['attributes']
  }

  get images(): readonly string[] {
    return this.#readRest()[2]
  }

  get stale(): boolean {
    return this.#readRest()[3]
  }

  toJSON(): ItemSnapshot {
    const { itemId, version, title, category, price, currency, available, imageDigests } = this
    const { regions, attributes, images, stale } = this
    const first = { itemId, title, category, price, currency, regions, available, attributes }
    return { ...first, images, imageDigests, stale, version }
  }

  #readRow(): RankRow {
    if (typeof this.#row === 'string') this.#row = rankWire.decode(this.#row)
    return this.#row
  }

  #readRest(): ItemRest {
    if (typeof this.#rest === 'string') this.#rest = restWire.decode(this.#rest)
    return this.#rest
  }
}

/** An object that a shard tells of again and again, for as long as its item does not change: its lines are written once. */
export class ToldObject {
  readonly box: Box
  readonly label: string
  readonly image: number
  #written: { readonly item: ItemSnapshot; readonly lines: string } | null = null

  constructor({ box, label, image }: ShardHit['object']) {
    this.box = box
    this.label = label
    this.image = image
  }

  linesWith(item: ItemSnapshot): string {
    if (this.#written?.item !== item) this.#written = { item, lines: linesOf(this, item) }
    return this.#written.lines
  }
}

function linesOf(object: ShardHit['object'], item: ItemSnapshot): string {
  const { title, category, price, currency, available, imageDigests } = item
  const row = [object.image, object.box, object.label, title, category, price, currency, available, imageDigests]
  const rest = [item.regions, item.attributes, item.images, item.stale]
  return `\n${JSON.stringify(row)}\n${JSON.stringify(rest)}`
}
