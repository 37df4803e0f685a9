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

const HitColumns = Type.Object({ itemId: list(snapshotFields.itemId), similarity: list(Type.Number()) })
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
  snapshotFields.version,
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
    }
    let lines = ''
    for (const { object, item } of hits)
      lines += object instanceof ToldObject ? object.linesWith(item) : linesOf(object, item)
    return `${JSON.stringify({ hits: columns, ...others })}${lines}`
  },
  decode: text => {
    const end = text.indexOf('\n')
    const { hits, ...others } = firstLineWire.decode(end === -1 ? text : text.slice(0, end))
    const { itemId, similarity } = hits
    const lines = new HitLines(text, { end, hits: itemId.length })
    if (similarity.length !== itemId.length)
      throw malformed('replica-unavailable', `${similarity.length} similarities of ${itemId.length} hits`, 'hits')
    return {
      hits: itemId.map((id, at) => new WiredHit({ itemId: id as ItemId, similarity: similarity[at]!, lines, at })),
      ...others,
    }
  },
}

const openingBracket = '['.charCodeAt(0)
const closingBracket = ']'.charCodeAt(0)

/** Two of each hit. They are cut out of the text when somebody looks at them. */
class HitLines {
  readonly #text: string
  /** Of each line, and of the end. */
  readonly #starts: Uint32Array

  /** @throws FreshetError `replica-unavailable` unless there are so many lines of which each is a whole list, by its brackets */
  constructor(text: string, { end, hits }: { readonly end: number; readonly hits: number }) {
    const starts = new Uint32Array(2 * hits + 1)
    let lines = 0
    for (let from = end; from !== -1; lines++) {
      if (lines === 2 * hits) throw malformed('replica-unavailable', `more lines than those of ${hits} hits`, 'hits')
      starts[lines] = from + 1
      const next = text.indexOf('\n', from + 1)
      const last = (next === -1 ? text.length : next) - 1
      if (last <= from + 1 || text.charCodeAt(from + 1) !== openingBracket || text.charCodeAt(last) !== closingBracket)
        throw malformed('replica-unavailable', `line ${lines} is no list`, `lines.${lines}`)
      from = next
    }
    if (lines !== 2 * hits) throw malformed('replica-unavailable', `${lines} lines of ${hits} hits`, 'hits')
    starts[lines] = text.length + 1
    this.#text = text
    this.#starts = starts
  }

  row(hit: number): string {
    return this.#line(2 * hit)
  }

  rest(hit: number): string {
    return this.#line(2 * hit + 1)
  }

  #line(line: number): string {
    return this.#text.slice(this.#starts[line]!, this.#starts[line + 1]! - 1)
  }
}

/** Where what is told of a hit is read. */
interface HitPlace {
  readonly itemId: ItemId
  readonly lines: HitLines
  readonly at: number
}

class WiredHit implements ShardHit {
  readonly itemId: ItemId
  readonly similarity: number
  readonly #lines: HitLines
  readonly #at: number
  #item: WiredItem | null = null

  constructor({ itemId, similarity, lines, at }: HitPlace & { readonly similarity: number }) {
    this.itemId = itemId
    this.similarity = similarity
    this.#lines = lines
    this.#at = at
  }

  /** Of most hits nobody asks. */
  get item(): WiredItem {
    this.#item ??= new WiredItem({ itemId: this.itemId, lines: this.#lines, at: this.#at })
    return this.#item
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
  readonly #place: HitPlace
  #row: RankRow | null = null
  #rest: ItemRest | null = null

  constructor(place: HitPlace) {
    this.itemId = place.itemId
    this.#place = place
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

  get version(): Offset {
    return this.#readRest()[4] as Offset
  }

  toJSON(): ItemSnapshot {
    const { itemId, version, title, category, price, currency, available, imageDigests } = this
    const { regions, attributes, images, stale } = this
    const first = { itemId, title, category, price, currency, regions, available, attributes }
    return { ...first, images, imageDigests, stale, version }
  }

  #readRow(): RankRow {
    const { lines, at } = this.#place
    this.#row ??= rankWire.decode(lines.row(at))
    return this.#row
  }

  #readRest(): ItemRest {
    const { lines, at } = this.#place
    this.#rest ??= restWire.decode(lines.rest(at))
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
  const rest = [item.regions, item.attributes, item.images, item.stale, item.version]
  return `\n${JSON.stringify(row)}\n${JSON.stringify(rest)}`
}
