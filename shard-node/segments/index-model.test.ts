import { expect, test } from 'vitest'
import { walkIndex } from '../testing/index-model.ts'

test.each([
  ['standard', 1],
  ['compressed', 2],
] as const)('a random walk of 1,000 steps over the %s kind answers as the oracle does', async (kind, seed) => {
  const { recall, alarms, searches } = await walkIndex({ seed, steps: 1_000, items: 600, tuning: { kind } })
  expect(alarms).toEqual([])
  expect(searches).toBeGreaterThan(300)
  expect(recall).toBeGreaterThan(0.98)
})
