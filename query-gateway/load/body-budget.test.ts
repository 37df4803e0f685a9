import { expect, test } from 'vitest'
import { BodyBudget } from './body-budget.ts'

test('one body alone always fits the budget', () => {
  const budget = new BodyBudget(10)
  expect([budget.reserve(50), budget.reserve(1)]).toEqual([true, false])
  budget.release(50)
  expect([budget.reserve(4), budget.reserve(6), budget.reserve(1)]).toEqual([true, true, false])
})
