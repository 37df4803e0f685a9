import fc from 'fast-check'
import { expect, test } from 'vitest'
import { LatencyQuantile } from './latency-quantile.ts'

/** The largest of the smallest values that make up the share. */
function exact(values: readonly number[], share: number): number {
  const sorted = [...values].sort((a, b) => a - b)
  return sorted[Math.max(0, Math.ceil(share * sorted.length) - 1)]!
}

test('it is the exact quantile to 4%, of any latencies', () => {
  const latencies = fc.array(fc.double({ min: 0.05, max: 20_000, noNaN: true }), { minLength: 20, maxLength: 900 })
  fc.assert(
    fc.property(latencies, fc.constantFrom(0.5, 0.9, 0.95, 0.99), (values, share) => {
      const quantile = new LatencyQuantile(share, 0)
      for (const value of values) quantile.add(value, 1)
      const ratio = quantile.value(1)! / exact(values, share)
      expect(ratio).toBeGreaterThanOrEqual(1 - 1e-9)
      expect(ratio).toBeLessThanOrEqual(1.0401)
    }),
  )
})

test('what was not waited for any longer changes no quantile below it', () => {
  const waits = fc.array(fc.double({ min: 0.1, max: 10_000, noNaN: true }), { minLength: 100, maxLength: 400 })
  fc.assert(
    fc.property(waits, values => {
      const [whole, cut] = [new LatencyQuantile(0.95, 0), new LatencyQuantile(0.95, 0)]
      const limit = exact(values, 0.95)
      for (const value of values) {
        whole.add(value, 1)
        cut.add(value > limit ? limit * 1.05 : value, 1)
      }
      expect(cut.value(1)).toBe(whole.value(1))
    }),
  )
})

test('little is no basis, and nothing is kept for ever', () => {
  const quantile = new LatencyQuantile(0.95, 0)
  expect(quantile.value(0)).toBeNull()
  for (let i = 0; i < 19; i++) quantile.add(7, 1)
  expect(quantile.value(1)).toBeNull()
  for (let i = 0; i < 400; i++) quantile.add(7, 1)
  expect(quantile.value(1)).toBeGreaterThan(6)
  expect(quantile.value(29_000)).toBeGreaterThan(6)
  expect(quantile.value(3_600_000)).toBeNull()
})

test('a shard that became slow, or fast again, is known to be within some thousand answers', () => {
  const quantile = new LatencyQuantile(0.95, 0)
  for (let i = 0; i < 10_000; i++) quantile.add(2, 1)
  for (let i = 0; i < 500; i++) quantile.add(300, 1)
  expect(quantile.value(1)).toBeGreaterThan(250)
  for (let i = 0; i < 5_000; i++) quantile.add(2, 1)
  expect(quantile.value(1)).toBeLessThan(3)
})
