import { expect, test } from 'vitest'
import { FreshetError } from '../../../schemas/errors.ts'
import { benches } from '../run-bench.ts'
import { parseShardBenchOptions } from './shard-bench-options.ts'

const sized = Object.entries(benches).flatMap(([name, bench]) => (bench.sized ? [{ name, load: bench.load }] : []))

test('there is a bench for every goal of the shard', () => {
  expect(sized.map(({ name }) => name)).toEqual([
    'shard-search',
    'shard-mixed',
    'shard-churn',
    'shard-filter',
    'shard-recovery',
    'shard-memory',
    'delete-storm',
  ])
})

test.each(sized)('$name runs every step and judges its figures', async ({ name, load }) => {
  const bench = await load()
  const report = await bench({ rows: 1_500, seed: 3, length: 'smoke' })
  expect(report.bench).toBe(name)
  for (const { name: measure, value } of report.measures)
    expect([measure, Number.isFinite(value)]).toEqual([measure, true])
  expect(report.measures.some(({ met }) => met !== undefined)).toBe(true)
  // What must hold at any size and speed.
  for (const { goal, goalIs, name: measure, met } of report.measures)
    if (goal === 0 && goalIs === 'atMost') expect([measure, met]).toEqual([measure, true])
})

test('options are numbers in range, and as the issue has them when left out', () => {
  expect(parseShardBenchOptions({})).toEqual({ rows: 200_000, seed: 1, length: 'full' })
  expect(parseShardBenchOptions({ quick: true })).toEqual({ rows: 20_000, seed: 1, length: 'quick' })
  expect(parseShardBenchOptions({ rows: '5000', seed: '7' })).toEqual({ rows: 5_000, seed: 7, length: 'full' })
  for (const rows of ['many', '10', '1.5']) expect(() => parseShardBenchOptions({ rows })).toThrow(FreshetError)
})
