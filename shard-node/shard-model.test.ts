import { expect, test } from 'vitest'
import { runShardModel } from './testing/shard-model-run.ts'

const seed = 20_260
test(`a shard answers as a plain map and an exact scan do, whatever happens to it (seed ${seed})`, async () => {
  const report = await runShardModel({ seed, operations: 2_500, dims: 16, items: 500 })
  expect(report.searchesMeanwhile).toBeGreaterThan(50)
  expect(report.recall).toBeGreaterThan(0.95)
  expect(report.operations).toMatchObject({
    restart: expect.any(Number),
    crash: expect.any(Number),
    replica: expect.any(Number),
  })
})
