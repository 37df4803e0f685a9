import { setImmediate as nextTurn } from 'node:timers/promises'
import { expect, test } from 'vitest'
import { asPartition, type ItemId, parseItemId } from '../../schemas/ids.ts'
import type { RegisterMutation } from '../../schemas/mutation.ts'
import type { SearchFilter } from '../../schemas/shard-api.ts'
import { ShardFiles } from '../files/shard-files.ts'
import { attributesPut } from '../testing/shard-on-log.ts'
import type { AllowedBits } from '../vector-index.ts'
import { FilterBits } from './filter-bits.ts'
import { tokensOfAttributes } from './filter-tokens.ts'
import { ItemTable } from './item-table.ts'
import { attributesContent } from './registers.ts'
import { ModelledStore } from './testing/store-comparison.ts'
import { inTemporaryDirectory } from './testing/temporary-directory.ts'

/** A table with filters and no log: all that a filter sees. */
class FilteredTable {
  readonly table = new ItemTable()
  readonly filters = new FilterBits(this.table)

  put(id: string, offset: number, price: number): number {
    const mutation = attributesPut(id, offset, { price })
    if (mutation.type !== 'AttributesPut') throw new Error('not attributes')
    const known = this.table.find(mutation.itemId)
    const item = known.item === -1 ? this.table.claim(mutation.itemId, known.hash, asPartition(0)) : known.item
    const tokens = tokensOfAttributes(attributesContent(mutation))
    this.table.writeAttributes(item, { at: 0, bytes: 100, offset, available: true, price, tokens })
    this.filters.update(item)
    return item
  }

  remove(id: string, offset: number): void {
    const { item } = this.table.find(id as ItemId)
    this.table.writeRemoval(item, { offset, removedAtMs: 1, at: 0 })
    this.filters.update(item)
  }
}

function isAllowed({ bits }: AllowedBits, item: number): boolean {
  return (((bits[item >>> 5] ?? 0) >>> (item & 31)) & 1) === 1
}

test.each<[SearchFilter, boolean]>([
  [{}, true],
  [{ category: ['lamp', 'chair'] }, true],
  [{ category: ['lamp'] }, false],
  [{ category: ['DE'] }, false],
  [{ category: [] }, false],
  [{ region: ['JP', 'DE'] }, true],
  [{ region: ['JP'] }, false],
  [{ available: true }, true],
  [{ available: false }, false],
  [{ price: { min: 10, max: 10 } }, true],
  [{ price: { min: 11 } }, false],
  [{ attributes: { colour: ['red'] } }, false],
  [{ attributes: { seats: [4] } }, true],
  [{ attributes: { seats: ['4'] } }, false],
  [{ attributes: { seats: [5, 4], wood: [true] } }, true],
  [{ attributes: { seats: [4], wood: ['true'] } }, false],
  [{ attributes: { toString: ['x'] } }, false],
  [{ category: ['chair'], region: ['DE'], available: true, price: { max: 9 } }, false],
])('%j of a chair sold in DE for 10 with four seats of wood: %s', async (filter, expected) => {
  await inTemporaryDirectory(async directory => {
    const { store, apply } = await storeWith(directory)
    apply(attributesPut('chair', 1, { attributes: { seats: 4, wood: true } }))
    const { item } = store.find(parseItemId('chair'))!
    expect(isAllowed(await store.allowed(filter), item)).toBe(expected)
    expect(store.passes(item, filter)).toBe(expected)
    await store.close()
  })
})

test.each<SearchFilter>([{ price: { max: 100 } }, { price: { min: 0 } }, { price: {} }])(
  'an item without a price does not pass %j',
  async filter => {
    await inTemporaryDirectory(async directory => {
      const { store, apply } = await storeWith(directory)
      apply(attributesPut('chair', 1, { price: null }))
      expect((await store.allowed(filter)).count).toBe(0)
      expect(store.passes(0, filter)).toBe(false)
      await store.close()
    })
  },
)

test('items that change, come or go while a filter is evaluated are right in it, however far it is', async () => {
  const filtered = new FilteredTable()
  const items = 70_000
  for (let i = 0; i < items; i++) filtered.put(`item-${i}`, 1, i)
  const evaluated = filtered.filters.allowed({ price: { min: 10, max: 59_999 } })
  for (const [at, id] of [50, 30_000, 59_000].entries()) {
    filtered.put(`item-${id}`, 2 + at, 70_000)
    filtered.put(`item-${id + 10_500}`, 2 + at, 20)
    filtered.remove(`item-${id + 1}`, 5)
    await nextTurn()
  }
  const added = filtered.put('new', 1, 11)
  const allowed = await evaluated
  const expected: number[] = []
  for (let item = 0; item < filtered.table.limit; item++) {
    const price = filtered.table.columns.price[item]!
    if (price >= 10 && price <= 59_999) expected.push(item)
  }
  expect(expected).toContain(added)
  const found: number[] = []
  for (let item = 0; item < allowed.bits.length * 32; item++) if (isAllowed(allowed, item)) found.push(item)
  expect(found).toEqual(expected)
  expect(allowed.count).toBe(expected.length)
})

test('evaluation gives other work its turn', async () => {
  const filtered = new FilteredTable()
  for (let i = 0; i < 70_000; i++) filtered.put(`item-${i}`, 1, i)
  let isDone = false
  const evaluated = filtered.filters.allowed({ price: { min: 1 } }).then(() => {
    isDone = true
  })
  await nextTurn()
  expect(isDone).toBe(false)
  await evaluated
})

test('many filters: the one used least recently is let go and evaluated anew when it comes again', async () => {
  const filtered = new FilteredTable()
  const { filters } = filtered
  const first = await filters.allowed({ price: { max: 0 } })
  const second = await filters.allowed({ price: { max: 1 } })
  expect(await filters.allowed({ price: { max: 0 } })).toBe(first)
  for (let max = 2; max < 33; max++) await filters.allowed({ price: { max } })
  expect(await filters.allowed({ price: { max: 0 } })).toBe(first)
  expect(await filters.allowed({ price: { max: 1 } })).not.toBe(second)
  filtered.put('late', 1, 1)
  expect((await filters.allowed({ price: { max: 1 } })).count).toBe(1)
})

test('bits are shared with other threads, which see them change and grow', async () => {
  const filtered = new FilteredTable()
  const allowed = await filtered.filters.allowed({})
  const { bits } = structuredClone({ bits: allowed.bits })
  for (let i = 0; i < 5_000; i++) filtered.put(`item-${i}`, 1, i)
  expect(bits.length).toBe(allowed.bits.length)
  expect(isAllowed({ bits, count: 0 }, 4_999)).toBe(true)
})

async function storeWith(directory: string) {
  const modelled = await ModelledStore.create(new ShardFiles(directory))
  return { store: modelled.store, apply: (mutation: RegisterMutation) => modelled.apply(mutation) }
}
