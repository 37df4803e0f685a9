import { expect, test } from 'vitest'
import { LatencyWindow } from './latency-window.ts'

test('quantiles are of the most recent calls, buckets of all', () => {
  const window = new LatencyWindow()
  for (let i = 0; i < 3; i++) window.add(5_000)
  for (let i = 0; i < 1_024; i++) window.add(i < 10 ? 40 : 0.2)
  const { count, sumMs, p50, p99, buckets } = window.summary()
  expect(count).toBe(1_027)
  expect(sumMs).toBeCloseTo(3 * 5_000 + 10 * 40 + 1_014 * 0.2, 6)
  expect([p50, p99]).toEqual([0.2, 0.2])
  const reached = new Map(buckets.map(bucket => [bucket.upToMs, bucket.count]))
  expect([reached.get(0.1), reached.get(0.25), reached.get(50), reached.get(1_000), reached.get(null)]).toEqual([
    0, 1_014, 1_024, 1_024, 1_027,
  ])
})

test('nothing was called yet', () => {
  const { count, p50, p99, buckets } = new LatencyWindow().summary()
  expect([count, p50, p99, buckets.at(-1)]).toEqual([0, 0, 0, { upToMs: null, count: 0 }])
})
