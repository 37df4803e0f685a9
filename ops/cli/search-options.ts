import { FreshetError } from '../../schemas/errors.ts'
import type { Filter, SearchQuery } from '../../schemas/http-search.ts'

export interface SearchFlags {
  readonly box?: string
  readonly object?: string
  readonly k?: string
  readonly filter?: readonly string[]
  readonly exact?: boolean
  /** Commander's `--no-rerank`. */
  readonly rerank: boolean
}

/** Flags as the query of the search API, which checks their ranges. @throws FreshetError `bad-request` */
export function searchQuery(flags: SearchFlags): SearchQuery {
  return {
    ...(flags.box === undefined ? {} : { box: boxOf(flags.box) }),
    ...(flags.object === undefined ? {} : { object: numberOf('--object', flags.object) }),
    ...(flags.k === undefined ? {} : { k: numberOf('--k', flags.k) }),
    ...(flags.filter === undefined ? {} : { filter: filterOf(flags.filter) }),
    ...(flags.exact ? { exact: true } : {}),
    ...(flags.rerank ? {} : { rerank: false }),
  }
}

function numberOf(name: string, text: string): number {
  const value = Number(text)
  if (text.trim() === '' || !Number.isFinite(value))
    throw new FreshetError('bad-request', `${name} is a number, not ${text}`)
  return value
}

function boxOf(text: string): [number, number, number, number] {
  const parts = text.split(',').map(part => numberOf('--box', part))
  if (parts.length !== 4) throw new FreshetError('bad-request', '--box is x0,y0,x1,y1 as fractions of the picture')
  return parts as [number, number, number, number]
}

/** `category=`, `region=`, `available=`, `price=10..100`; any other name is an attribute. Repeated names are alternatives. */
function filterOf(terms: readonly string[]): Filter {
  const values = new Map<string, string[]>()
  for (const term of terms) {
    const at = term.indexOf('=')
    if (at <= 0) throw new FreshetError('bad-request', `--filter is name=value, not ${term}`)
    const name = term.slice(0, at)
    values.set(name, [...(values.get(name) ?? []), term.slice(at + 1)])
  }
  const filter: Filter = {}
  for (const [name, given] of values) {
    if (name === 'category') filter.category = given
    else if (name === 'region') filter.region = given
    else if (name === 'available') filter.available = given.at(-1) === 'true'
    else if (name === 'price') filter.price = rangeOf(given.at(-1)!)
    else filter.attributes = { ...filter.attributes, [name]: given.map(attributeValue) }
  }
  return filter
}

function rangeOf(text: string): NonNullable<Filter['price']> {
  const [min, max, more] = text.split('..')
  if (more !== undefined || max === undefined)
    throw new FreshetError('bad-request', 'a price filter is price=10..100, price=10.. or price=..100')
  return {
    ...(min === '' ? {} : { min: numberOf('price', min!) }),
    ...(max === '' ? {} : { max: numberOf('price', max) }),
  }
}

function attributeValue(text: string): string | number | boolean {
  if (text === 'true' || text === 'false') return text === 'true'
  return text.trim() !== '' && Number.isFinite(Number(text)) ? Number(text) : text
}
