import type { Facets } from '../../schemas/http-search.ts'
import type { ItemSnapshot } from '../../schemas/shard-api.ts'

/** Values told of one facet; attributes have fewer, and there are not more attributes than that. */
const maxValues = 50
const maxAttributes = 20
const maxAttributeValues = 20
const priceBuckets = 8

/** How many of the candidates have each value. */
export function facetsOf(items: readonly ItemSnapshot[]): Facets {
  const category = new Tally<string>()
  const region = new Tally<string>()
  const available = new Tally<boolean>()
  const attributes = new Map<string, Tally<string | number | boolean>>()
  for (const item of items) {
    category.add(item.category)
    for (const each of new Set(item.regions)) region.add(each)
    available.add(item.available)
    for (const [name, value] of Object.entries(item.attributes)) tallyOf(attributes, name).add(value)
  }
  const named = [...attributes].sort(([a, one], [b, other]) => other.total - one.total || (a < b ? -1 : 1))
  return {
    of: items.length,
    category: category.most(maxValues),
    region: region.most(maxValues),
    available: available.most(2),
    price: priceFacet(items),
    attributes: Object.fromEntries(
      named.slice(0, maxAttributes).map(([name, tally]) => [name, tally.most(maxAttributeValues)]),
    ),
  }
}

class Tally<T extends string | number | boolean> {
  readonly #counts = new Map<T, number>()
  total = 0

  add(value: T): void {
    // Null where the catalogue had a number that JSON cannot write.
    if (value === null) return
    this.#counts.set(value, (this.#counts.get(value) ?? 0) + 1)
    this.total++
  }

  /** Most frequent first, ties in the order of the values. */
  most(limit: number): { readonly value: T; readonly count: number }[] {
    const all = Array.from(this.#counts, ([value, count]) => ({ value, count }))
    return all.sort((a, b) => b.count - a.count || (a.value < b.value ? -1 : 1)).slice(0, limit)
  }
}

function tallyOf(tallies: Map<string, Tally<string | number | boolean>>, name: string) {
  const known = tallies.get(name)
  if (known !== undefined) return known
  const fresh = new Tally<string | number | boolean>()
  tallies.set(name, fresh)
  return fresh
}

/** Of the currency that most have: amounts of several are not to be compared. Buckets of equal width. */
function priceFacet(items: readonly ItemSnapshot[]): Facets['price'] {
  const currencies = new Tally<string>()
  for (const { price, currency } of items) if (price !== null) currencies.add(currency)
  const currency = currencies.most(1)[0]?.value
  if (currency === undefined) return null
  const prices = items.flatMap(item => (item.price !== null && item.currency === currency ? [item.price] : []))
  const min = prices.reduce((least, price) => Math.min(least, price))
  const max = prices.reduce((most, price) => Math.max(most, price))
  if (!(max > min)) return { currency, min, max, buckets: [{ from: min, to: max, count: prices.length }] }
  const edges = edgesOf(min, max)
  const counts = new Array<number>(edges.length - 1).fill(0)
  for (const price of prices) counts[bucketOf(price, edges)]! += 1
  const buckets = counts.map((count, n) => ({ from: edges[n]!, to: edges[n + 1]!, count }))
  return { currency, min, max, buckets }
}

/** Upwards, each once: between prices that are next to each other there is no room for all of them. */
function edgesOf(min: number, max: number): readonly number[] {
  const edges = new Set([min])
  for (let n = 1; n < priceBuckets; n++) {
    // Not (max - min) first, which is infinite for the largest numbers.
    const edge = min * (1 - n / priceBuckets) + max * (n / priceBuckets)
    if (edge > min && edge < max) edges.add(edge)
  }
  return [...edges, max].sort((a, b) => a - b)
}

/** Bucket whose edges the price lies between; the last one has its upper edge too. */
function bucketOf(price: number, edges: readonly number[]): number {
  const above = edges.findIndex((edge, n) => n > 0 && price < edge)
  return above === -1 ? edges.length - 2 : above - 1
}
