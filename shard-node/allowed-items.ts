import type { SearchFilter } from '../schemas/shard-api.ts'
import type { ItemTable } from './item-table.ts'
import type { AttributesContent } from './registers.ts'

export type AttributesMatch = (attributes: AttributesContent) => boolean

/** Items that pass a filter, as a bitmap by item ordinal. Lives on: later changes of items show in it. */
export interface AllowedSet {
  readonly bits: Uint32Array
  readonly count: number
  readonly matches: AttributesMatch
}

const filtersKept = 32

/**
 * The allowed items of recent filters. A filter is evaluated over the whole table once; afterwards each item that
 * changes is evaluated again for the filters kept, which is cheaper than evaluating a filter after every change.
 */
export class AllowedItems {
  readonly #table: ItemTable
  /** By filter; the least recently used first. */
  readonly #kept = new Map<string, FilterBits>()

  constructor(table: ItemTable) {
    this.#table = table
  }

  of(filter: SearchFilter): AllowedSet {
    const key = keyOf(filter)
    const known = this.#kept.get(key)
    if (known !== undefined) {
      this.#kept.delete(key)
      this.#kept.set(key, known)
      return known
    }
    const fresh = new FilterBits(compile(filter))
    for (const item of this.#table.items()) fresh.update(item.ordinal, item.state.attributes)
    this.#kept.set(key, fresh)
    if (this.#kept.size > filtersKept) this.#kept.delete(this.#kept.keys().next().value ?? key)
    return fresh
  }

  update(ordinal: number, attributes: AttributesContent | null): void {
    for (const filter of this.#kept.values()) filter.update(ordinal, attributes)
  }
}

class FilterBits implements AllowedSet {
  readonly matches: AttributesMatch
  bits = new Uint32Array(32)
  count = 0

  constructor(matches: AttributesMatch) {
    this.matches = matches
  }

  update(ordinal: number, attributes: AttributesContent | null): void {
    const word = ordinal >>> 5
    const bit = 1 << (ordinal & 31)
    const was = ((this.bits[word] ?? 0) & bit) !== 0
    const is = attributes !== null && this.matches(attributes)
    if (was === is) return
    if (word >= this.bits.length) {
      const bits = new Uint32Array(Math.max(this.bits.length * 2, word + 1))
      bits.set(this.bits)
      this.bits = bits
    }
    this.bits[word]! ^= bit
    this.count += is ? 1 : -1
  }
}

function compile(filter: SearchFilter): AttributesMatch {
  const parts: AttributesMatch[] = []
  const { category, region, available, price, attributes } = filter
  if (category !== undefined) {
    const categories = new Set(category)
    parts.push(item => categories.has(item.category))
  }
  if (region !== undefined) {
    const regions = new Set(region)
    parts.push(item => item.regions.some(name => regions.has(name)))
  }
  if (available !== undefined) parts.push(item => item.available === available)
  if (price !== undefined) {
    const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = price
    parts.push(item => item.price !== null && item.price >= min && item.price <= max)
  }
  for (const [name, values] of Object.entries(attributes ?? {})) {
    const accepted = new Set(values)
    parts.push(item => Object.hasOwn(item.attributes, name) && accepted.has(item.attributes[name]!))
  }
  return item => parts.every(part => part(item))
}

function keyOf(filter: SearchFilter): string {
  const { category, region, available, price, attributes } = filter
  const named = Object.entries(attributes ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([category, region, available, price?.min, price?.max, named])
}
