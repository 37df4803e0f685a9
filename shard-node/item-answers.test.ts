import { expect, test } from 'vitest'
import { asPartition, parseItemId } from '../schemas/ids.ts'
import type { RegisterMutation } from '../schemas/mutation.ts'
import { hitsOf } from './item-answers.ts'
import { type Item, ItemTable } from './item-table.ts'
import { applyMutation } from './registers.ts'
import { attributesPut, itemRemoved, objectsPut } from './testing/shard-on-log.ts'

const vector = Float32Array.of(1, 0)

function shownItem(): { readonly table: ItemTable; readonly item: Item } {
  const table = new ItemTable()
  const item = table.obtain(parseItemId('lamp'), asPartition(0))
  write(table, item, attributesPut('lamp', 1), objectsPut('lamp', 1, [vector, vector]))
  table.show(item, item.state)
  return { table, item }
}

/** Applies what the search thread has not seen yet. */
function write(table: ItemTable, item: Item, ...mutations: readonly RegisterMutation[]): void {
  table.write(item, mutations.reduce(applyMutation, item.state))
}

function answer(item: Item, object: number): Parameters<typeof hitsOf>[0] {
  return { hits: [{ item: item.ordinal, object, score: 0.5 }], plan: 'graph', complete: false }
}

test('a hit shows the objects that were searched with the newest attributes', () => {
  const { table, item } = shownItem()
  write(table, item, objectsPut('lamp', 2, [vector]), attributesPut('lamp', 3, { price: 99 }))
  const { hits, dropped } = hitsOf(answer(item, 1), table, null)
  expect(hits).toMatchObject([{ similarity: 0.5, object: { label: 'v1', box: [0, 0, 1, 1] }, item: { price: 99 } }])
  expect(dropped).toBe(0)
})

test.each<[string, readonly RegisterMutation[]]>([
  ['removed', [itemRemoved('lamp', 2)]],
  ['removed and published again', [itemRemoved('lamp', 2), attributesPut('lamp', 3), objectsPut('lamp', 3, [vector])]],
])('an item %s since the search is dropped', (_, mutations) => {
  const { table, item } = shownItem()
  write(table, item, ...mutations)
  expect(hitsOf(answer(item, 0), table, null)).toEqual({ hits: [], dropped: 1 })
})

test('an item that stopped passing the filter since the search is dropped', () => {
  const { table, item } = shownItem()
  const isAvailable = ({ available }: { readonly available: boolean }): boolean => available
  expect(hitsOf(answer(item, 0), table, isAvailable).hits).toHaveLength(1)
  write(table, item, attributesPut('lamp', 2, { available: false }))
  expect(hitsOf(answer(item, 0), table, isAvailable).dropped).toBe(1)
})
