import { expect, test } from 'vitest'
import { FreshetError } from '../../../schemas/errors.ts'
import { benches } from '../run-bench.ts'
import { peerMissing } from './peer-install.ts'
import { recallOf, smallestEffort } from './recall.ts'
import { inTurn, medianRatio } from './search-load.ts'
import { parseShardBenchOptions } from './shard-bench-options.ts'

const sized = Object.entries(benches).flatMap(([name, bench]) =>
  bench.takes === 'size' ? [{ name, load: bench.load }] : [],
)

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
  const report = await bench({ rows: 1_000, seed: 3, length: 'smoke' })
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

test('recall counts what was found of what exists', () => {
  const truth = [Uint32Array.of(1, 2, 3, 4), Uint32Array.of(), Uint32Array.of(9)]
  expect(recallOf([Uint32Array.of(4, 7, 1), Uint32Array.of(5), Uint32Array.of(9)], truth)).toBe(3 / 5)
  expect(recallOf([Uint32Array.of(1)], [Uint32Array.of()])).toBe(1)
})

test.each([10, 11, 39, 40, 41, 99, 1_234, 2_000])('the smallest effort that is enough is found: %i', async enough => {
  const { effort, recall } = await smallestEffort(tried => (tried >= enough ? 0.99 : 0.9), 0.99)
  expect([effort, recall]).toEqual([enough, 0.99])
})

test('where no effort is enough, the largest is taken and its recall told', async () => {
  expect(await smallestEffort(() => 0.5, 0.99)).toEqual({ effort: 2_000, recall: 0.5 })
})

test('two things are measured in turn, first and second changing places', async () => {
  const order: string[] = []
  const done = await inTurn(
    3,
    async () => order.push('a'),
    async () => order.push('b'),
  )
  expect(order.join('')).toBe('abbaab')
  expect(done).toEqual({ first: [1, 4, 5], second: [2, 3, 6] })
  expect(medianRatio([1, 4, 6], [2, 2, 2])).toBe(2)
})

test('an engine that is not installed is told with the reason', () => {
  expect(peerMissing('freshet-no-such-engine')).toContain('freshet-no-such-engine')
})
