import { expect, test } from 'vitest'
import { benches } from '../run-bench.ts'

const names = ['kafka-ingest', 'kafka-freshness', 'drain', 'replay'] as const

test.each(names)('%s runs every step and judges its figures', { timeout: 180_000 }, async name => {
  const bench = benches[name]
  if (bench?.takes !== 'length') throw new Error(`there is no bench ${name} of a length`)
  const report = await (await bench.load())({ length: 'smoke' })
  expect(report.bench).toBe(name)
  for (const { name: measure, value } of report.measures)
    expect([measure, Number.isFinite(value)]).toEqual([measure, true])
  expect(report.measures.some(({ met }) => met !== undefined)).toBe(true)
  // What must hold at any size and speed.
  for (const { goal, goalIs, name: measure, met } of report.measures)
    if (goal === 0 && goalIs === 'atMost') expect([measure, met]).toEqual([measure, true])
})
