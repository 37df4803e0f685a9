import { expect, test } from 'vitest'
import { asPartition, parseItemId } from '../schemas/ids.ts'
import { type Item, ItemTable } from './item-table.ts'
import { applyMutation } from './registers.ts'
import { attributesPut, itemRemoved } from './testing/shard-on-log.ts'

const partition = asPartition(0)

function write(table: ItemTable, id: string, ...mutations: readonly ReturnType<typeof attributesPut>[]): Item {
  const item = table.obtain(parseItemId(id), partition)
  const state = mutations.reduce(applyMutation, item.state)
  table.write(item, state)
  table.show(item, state)
  return item
}

test('only removals that are old and complete are forgotten, and their ordinal serves again', () => {
  const table = new ItemTable()
  const old = write(table, 'old', itemRemoved('old', 1))
  write(table, 'recent', itemRemoved('recent', 5_000))
  write(table, 'live', attributesPut('live', 2))
  write(table, 'incomplete', itemRemoved('incomplete', 3))
  expect(table.forgetRemoved(2_000, item => item.state.itemId !== 'incomplete')).toBe(1)
  expect([...table.items()].map(({ state }) => state.itemId)).toEqual(['recent', 'live', 'incomplete'])
  expect(table.counts).toEqual({ searchable: 0, pending: 1, failed: 0, deleted: 2, unknown: 0 })
  expect(table.at(old.ordinal)).toBeUndefined()
  expect(table.obtain(parseItemId('new'), partition).ordinal).toBe(old.ordinal)
})

test('a removal that the search thread has not seen yet is not forgotten', () => {
  const table = new ItemTable()
  const item = write(table, 'old', attributesPut('old', 1))
  table.write(item, applyMutation(item.state, itemRemoved('old', 2)))
  expect(table.forgetRemoved(Number.MAX_SAFE_INTEGER, () => true)).toBe(0)
})

test('restored items keep their ordinals, and gaps are used first', () => {
  const table = new ItemTable()
  const { state } = write(new ItemTable(), 'far', attributesPut('far', 1))
  table.restore(2, partition, state)
  table.restored()
  const ordinals = ['a', 'b', 'c'].map(id => table.obtain(parseItemId(id), partition).ordinal)
  expect(ordinals.sort()).toEqual([0, 1, 3])
})
