import { expect, test } from 'vitest'
import { operationKinds, runShardModel } from './testing/shard-model-run.ts'
import { eventKinds } from './testing/shard-workload.ts'
import { tinyTuning } from './testing/tiny-tuning.ts'

const seed = 20_260

test(`a shard answers as a plain map and an exact scan do, whatever happens to it (seed ${seed})`, async () => {
  const tuning = { ...tinyTuning, index: { ...tinyTuning.index, threads: 2 } }
  const report = await runShardModel({ seed, operations: 1_500, dims: 16, items: 500, tuning })
  expect(Object.keys(report.operations)).toEqual(expect.arrayContaining([...operationKinds, ...eventKinds]))
  expect(report.searchesMeanwhile).toBeGreaterThan(50)
  expect(report.recall).toBeGreaterThan(0.95)
  expect(report.graphs).toBeGreaterThan(0)
  expect(report.layouts).toBeGreaterThan(10)
})

test(`so does one that holds only codes in memory (seed ${seed})`, async () => {
  const tuning = { ...tinyTuning, index: { ...tinyTuning.index, kind: 'compressed' } } as const
  const report = await runShardModel({ seed, operations: 800, dims: 24, items: 400, tuning })
  expect(report.recall).toBeGreaterThan(0.95)
  expect(report.graphs).toBe(0)
  expect(report.layouts).toBeGreaterThan(5)
})
