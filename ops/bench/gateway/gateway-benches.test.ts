import { expect, test } from 'vitest'
import { gatewayOverheadBench } from './gateway-overhead.bench.ts'
import { hedgingBench } from './hedging.bench.ts'

// The gateway of these two is put together for them, from the ports that they need.
test.each([
  ['gateway-overhead', gatewayOverheadBench],
  ['hedging', hedgingBench],
] as const)('%s runs every step and judges its figures', async (name, bench) => {
  const report = await bench({ length: 'smoke' })
  expect(report.bench).toBe(name)
  for (const { name: measure, value } of report.measures)
    expect([measure, Number.isFinite(value)]).toEqual([measure, true])
  expect(report.measures.some(({ met }) => met !== undefined)).toBe(true)
})
