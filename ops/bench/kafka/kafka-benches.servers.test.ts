import { expect, test } from 'vitest'
import { benches } from '../run-bench.ts'

const ofLength = Object.entries(benches).flatMap(([name, bench]) =>
  bench.takes === 'length' ? [{ name, load: bench.load }] : [],
)

test('there is a bench for every goal of the distributed form', () => {
  expect(ofLength.map(({ name }) => name)).toEqual(['kafka-ingest', 'kafka-freshness', 'drain', 'replay'])
})

test.each(ofLength)('$name runs every step and judges its figures', { timeout: 180_000 }, async ({ name, load }) => {
  const bench = await load()
  const report = await bench({ length: 'smoke' })
  expect(report.bench).toBe(name)
  for (const { name: measure, value } of report.measures)
    expect([measure, Number.isFinite(value)]).toEqual([measure, true])
  expect(report.measures.some(({ met }) => met !== undefined)).toBe(true)
  // What must hold at any size and speed.
  for (const { goal, goalIs, name: measure, met } of report.measures)
    if (goal === 0 && goalIs === 'atMost') expect([measure, met]).toEqual([measure, true])
})
