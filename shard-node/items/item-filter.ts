import type { ItemAttributes } from '../../schemas/catalog-event.ts'
import type { SearchFilter } from '../../schemas/shard-api.ts'
import { attributeToken, categoryToken, regionToken } from './filter-tokens.ts'
import type { ItemTable } from './item-table.ts'

/** Equal for filters that are written alike. */
export function keyOf(filter: SearchFilter): string {
  const { category, region, available, price, attributes } = filter
  const named = Object.entries(attributes ?? {}).sort(([a], [b]) => (a < b ? -1 : 1))
  return JSON.stringify([category, region, available, price?.min, price?.max, named])
}

/** The filter itself. */
export function contentMatch(filter: SearchFilter): (content: ItemAttributes) => boolean {
  const segments: ((content: ItemAttributes) => boolean)[] = []
  const { category, region, available, price, attributes } = filter
  if (category !== undefined) {
    const categories = new Set(category)
    segments.push(item => categories.has(item.category))
  }
  if (region !== undefined) {
    const regions = new Set(region)
    segments.push(item => item.regions.some(name => regions.has(name)))
  }
  if (available !== undefined) segments.push(item => item.available === available)
  if (price !== undefined) {
    const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = price
    segments.push(item => item.price !== null && item.price >= min && item.price <= max)
  }
  for (const [name, values] of Object.entries(attributes ?? {})) {
    const accepted = new Set(values)
    segments.push(item => Object.hasOwn(item.attributes, name) && accepted.has(item.attributes[name]!))
  }
  return item => segments.every(segment => segment(item))
}

/** The filter by what is in memory: says yes to all that pass, and to one in 2^32 that does not. */
export function columnsMatch(filter: SearchFilter, { columns, tokens }: ItemTable): (item: number) => boolean {
  const { available, price } = filter
  const groups = tokenGroups(filter)
  const { min = Number.NEGATIVE_INFINITY, max = Number.POSITIVE_INFINITY } = price ?? {}
  return item => {
    if (!columns.hasAttributes(item)) return false
    if (available !== undefined && columns.isAvailable(item) !== available) return false
    if (price !== undefined && !(columns.price[item]! >= min && columns.price[item]! <= max)) return false
    const from = columns.attributeTokensAt[item]!
    const to = from + columns.attributeTokens[item]!
    for (const group of groups) if (!holdsOne(tokens.words, { from, to, group })) return false
    return true
  }
}

/** An item passes when it has a token of each group. */
function tokenGroups({ category, region, attributes }: SearchFilter): number[][] {
  const groups: number[][] = []
  if (category !== undefined) groups.push(category.map(categoryToken))
  if (region !== undefined) groups.push(region.map(regionToken))
  for (const [name, values] of Object.entries(attributes ?? {}))
    groups.push(values.map(value => attributeToken(name, value)))
  return groups
}

function holdsOne(
  words: Uint32Array,
  { from, to, group }: { readonly from: number; readonly to: number; readonly group: readonly number[] },
): boolean {
  for (let at = from; at < to; at++) for (const token of group) if (words[at] === token) return true
  return false
}
