import fc from 'fast-check'
import { expect, test } from 'vitest'
import { asPartition, parseItemId } from '../schemas/ids.ts'
import type { SearchFilter } from '../schemas/shard-api.ts'
import { AllowedItems } from './allowed-items.ts'
import { ItemTable } from './item-table.ts'
import { applyMutation } from './registers.ts'
import { attributesPut, itemRemoved } from './testing/shard-on-log.ts'

const attributes = fc.record({
  category: fc.constantFrom('chair', 'lamp', 'sofa'),
  price: fc.constantFrom(null, 1, 5, 9),
  regions: fc.subarray(['DE', 'FR', 'JP']),
  available: fc.boolean(),
  attributes: fc.dictionary(fc.constantFrom('colour', 'seats'), fc.constantFrom('red', 4, true)),
})

const filter: fc.Arbitrary<SearchFilter> = fc.record(
  {
    category: fc.subarray(['chair', 'lamp']),
    region: fc.subarray(['DE', 'JP']),
    available: fc.boolean(),
    price: fc.record({ min: fc.constantFrom(1, 5), max: fc.constantFrom(5, 8) }, { requiredKeys: [] }),
    attributes: fc.dictionary(fc.constantFrom('colour', 'seats'), fc.subarray(['red', 4, true] as const)),
  },
  { requiredKeys: [] },
)

const write = fc.record({ item: fc.nat(40), removed: fc.boolean(), attributes })

test('a filter kept up to date item by item equals one evaluated at the end', () => {
  fc.assert(
    fc.property(filter, fc.array(write, { maxLength: 80 }), (wanted, writes) => {
      const table = new ItemTable()
      const kept = new AllowedItems(table)
      kept.of(wanted)
      writes.forEach((each, offset) => {
        const id = `item-${each.item}`
        const item = table.obtain(parseItemId(id), asPartition(0))
        const mutation = each.removed ? itemRemoved(id, offset) : attributesPut(id, offset, each.attributes)
        table.write(item, applyMutation(item.state, mutation))
        kept.update(item.ordinal, item.state.attributes)
      })
      const allowed = kept.of(wanted)
      const expected = [...table.items()].filter(({ state }) => state.attributes && allowed.matches(state.attributes))
      const isAllowed = (ordinal: number): boolean =>
        (((allowed.bits[ordinal >>> 5] ?? 0) >>> (ordinal & 31)) & 1) === 1
      expect([...table.items()].filter(({ ordinal }) => isAllowed(ordinal))).toEqual(expected)
      expect(allowed.count).toBe(expected.length)
      expect(new AllowedItems(table).of(wanted).count).toBe(expected.length)
    }),
  )
})

test.each<[SearchFilter, boolean]>([
  [{}, true],
  [{ category: ['lamp', 'chair'] }, true],
  [{ category: [] }, false],
  [{ region: ['JP', 'DE'] }, true],
  [{ region: ['JP'] }, false],
  [{ available: false }, false],
  [{ price: { min: 10, max: 10 } }, true],
  [{ price: { min: 11 } }, false],
  [{ attributes: { colour: ['red'] } }, false],
  [{ attributes: { seats: [4] } }, true],
  [{ attributes: { seats: ['4'] } }, false],
  [{ attributes: { toString: ['x'] } }, false],
])('%j of a chair sold in DE for 10 with four seats: %s', (wanted, expected) => {
  const table = new ItemTable()
  const item = table.obtain(parseItemId('chair'), asPartition(0))
  table.write(item, applyMutation(item.state, attributesPut('chair', 1, { attributes: { seats: 4 } })))
  expect(new AllowedItems(table).of(wanted).count).toBe(expected ? 1 : 0)
})

test('an item without a price passes no price filter', () => {
  const table = new ItemTable()
  const item = table.obtain(parseItemId('chair'), asPartition(0))
  table.write(item, applyMutation(item.state, attributesPut('chair', 1, { price: null })))
  expect(new AllowedItems(table).of({ price: { max: 100 } }).count).toBe(0)
})

test('many filters: the oldest is let go and evaluated anew when it comes again', () => {
  const table = new ItemTable()
  const allowed = new AllowedItems(table)
  const first = allowed.of({ price: { max: 0 } })
  expect(allowed.of({ price: { max: 0 } })).toBe(first)
  for (let max = 1; max < 60; max++) allowed.of({ price: { max } })
  expect(allowed.of({ price: { max: 0 } })).not.toBe(first)
})
