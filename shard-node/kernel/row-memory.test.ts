import { expect, test } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import { columnsOf, createRowMemory, type RowShape, rowMemoryBytes, scratchLayout } from './row-memory.ts'

const shape: RowShape = { dims: 72, capacity: 1_001, items: 96, vectors: true, threads: 3 }

test('columns and scratch areas begin on cache lines and do not overlap', () => {
  const { codes, items, objects, words, halves } = columnsOf(createRowMemory(shape))
  const columns = [codes, items, words, objects, halves].map(column => ({
    from: column.byteOffset,
    to: column.byteOffset + column.byteLength,
  }))
  expect(columns.map(({ from, to }) => to - from)).toEqual([9_009, 4_004, 4_004, 1_001, 144_144])

  const scratch = [0, 1, 2].flatMap(thread => Object.values(scratchLayout(shape, thread) satisfies object) as number[])
  const starts = [...scratch, ...columns.map(({ from }) => from)]
  expect(starts).toEqual(starts.toSorted((a, b) => a - b))
  expect(new Set(starts).size).toBe(starts.length)
  expect(starts.every(start => start % 64 === 0)).toBe(true)
  for (const [i, { to }] of columns.entries())
    expect(to).toBeLessThanOrEqual(columns[i + 1]?.from ?? Number.POSITIVE_INFINITY)
})

test('memory is as large as it says, and ends behind the last column', () => {
  const handle = createRowMemory(shape)
  const { halves } = columnsOf(handle)
  expect(handle.memory.buffer.byteLength).toBe(rowMemoryBytes(shape))
  expect(halves.byteOffset + halves.byteLength).toBeLessThanOrEqual(rowMemoryBytes(shape))
})

test('a column is the same memory for everyone who has the handle', () => {
  const handle = createRowMemory(shape)
  columnsOf(handle).words[1_000] = 7
  expect(columnsOf(handle).words[1_000]).toBe(7)
})

test('without vectors there is no column of them, and a row costs its code and nine bytes', () => {
  const rows = 100_000
  const compact: RowShape = { dims: 256, capacity: rows, items: rows, vectors: false, threads: 1 }
  expect(columnsOf(createRowMemory(compact)).halves).toHaveLength(0)
  const none = rowMemoryBytes({ ...compact, capacity: 0 })
  expect((rowMemoryBytes(compact) - none) / rows).toBeLessThan(42)
})

test.each<readonly [string, Partial<RowShape>]>([
  ['dimensions that are no multiple of 8', { dims: 100 }],
  ['no dimensions', { dims: 0 }],
  ['too many dimensions', { dims: 1_032 }],
  ['segment of a bitmap word', { items: 33 }],
  ['half a row', { capacity: 0.5 }],
  ['a negative number of threads', { threads: -1 }],
  ['4 GiB', { dims: 1_024, capacity: 2_000_000 }],
])('refuses %s', (_, change) => {
  expect(() => createRowMemory({ ...shape, ...change })).toThrow(FreshetError)
})
