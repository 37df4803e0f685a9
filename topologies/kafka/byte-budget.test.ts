import { expect, test } from 'vitest'
import { ByteBudget } from './byte-budget.ts'

/** Numbers of the takers that were granted, in order. */
function takers(budget: ByteBudget, sizes: readonly number[]): number[] {
  const granted: number[] = []
  for (const [i, bytes] of sizes.entries()) void budget.take(bytes).then(() => granted.push(i))
  return granted
}

const settled = () => new Promise(resolve => setImmediate(resolve))

test('who comes later does not overtake, even if it would fit', async () => {
  const budget = new ByteBudget(100)
  const granted = takers(budget, [60, 60, 10])
  await settled()
  expect(granted).toEqual([0])
  budget.giveBack(60)
  await settled()
  expect(granted).toEqual([0, 1, 2])
})

test('more than the whole budget is granted alone', async () => {
  const budget = new ByteBudget(100)
  const granted = takers(budget, [50, 500, 50])
  await settled()
  expect(granted).toEqual([0])
  budget.giveBack(50)
  await settled()
  expect(granted).toEqual([0, 1])
  budget.giveBack(500)
  await settled()
  expect(granted).toEqual([0, 1, 2])
})
