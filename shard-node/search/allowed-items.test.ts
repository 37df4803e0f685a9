import fc from 'fast-check'
import { expect, test } from 'vitest'
import { allowedOf } from '../testing/search-segments.ts'
import { AllowedItems } from './allowed-items.ts'
import { ItemDirectory } from './item-directory.ts'

const limit = 320
const items = fc.uniqueArray(fc.integer({ min: 0, max: limit - 1 }))
/** Up to four rows an item, many items with none. */
const column = fc
  .array(fc.tuple(fc.integer({ min: 0, max: limit - 1 }), fc.integer({ min: 1, max: 4 })))
  .map(counted => counted.flatMap(([item, rows]) => Array<number>(rows).fill(item)))

test('rows of allowed items: by the directory of a sorted column, and by looking at every row of any', () => {
  const allowed = new AllowedItems()
  fc.assert(
    fc.property(column, items, fc.integer({ min: -1, max: limit - 1 }), (unsorted, list, exclude) => {
      allowed.copy(allowedOf(list, limit).bits, exclude)
      const isAllowed = (item: number): boolean => item !== exclude && list.includes(item)
      const rowsIn = (rows: readonly number[]): number[] => [...rows.keys()].filter(row => isAllowed(rows[row]!))
      expect([...allowed.rowsOf(Uint32Array.from(unsorted))]).toEqual(rowsIn(unsorted))
      const sorted = unsorted.toSorted((a, b) => a - b)
      const directory = new ItemDirectory(Uint32Array.from(sorted), limit)
      expect([...directory.rowsOf(allowed.bits)]).toEqual(rowsIn(sorted))
      for (let item = 0; item < limit; item++) expect(allowed.has(item)).toBe(isAllowed(item))
    }),
  )
})

test('bits may be fewer or more than there are items, and change afterwards without effect', () => {
  const allowed = new AllowedItems()
  const { bits } = allowedOf([3, 40], 64)
  allowed.copy(bits, -1)
  bits.fill(0xffffffff)
  const rows = Uint32Array.of(3, 4, 40, 300)
  const directory = new ItemDirectory(rows, 320)
  expect([...directory.rowsOf(allowed.bits)]).toEqual([0, 2])
  expect(allowed.has(300)).toBe(false)
  const { buffer } = bits as Uint32Array<SharedArrayBuffer>
  buffer.grow(buffer.maxByteLength)
  bits[3] = 1
  allowed.copy(bits, 41)
  expect([allowed.has(96), allowed.has(41), allowed.has(40), allowed.has(97)]).toEqual([true, false, true, false])
  expect([...new ItemDirectory(Uint32Array.of(3), 32).rowsOf(allowed.bits)]).toEqual([0])
  expect([...new ItemDirectory(new Uint32Array(0), 32).rowsOf(allowed.bits)]).toEqual([])
})
