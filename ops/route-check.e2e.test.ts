import { pino } from 'pino'
import { afterAll, beforeAll, expect, test } from 'vitest'
import type { ImageModel } from '../schemas/image-analysis.ts'
import { ModelPool } from '../workers/model-pool.ts'
import { checkRoutes } from './route-check.ts'
import { StubModel } from './stub-model.ts'

let pool: ModelPool

beforeAll(async () => {
  const log = pino({ level: 'silent' })
  pool = await ModelPool.open({ modelSet: 'v1', processes: 1, clock: () => performance.now(), log })
})

afterAll(() => pool.close())

test('indexing and queries give the same vectors', async () => {
  expect((await checkRoutes(pool)).leastCosine).toBeGreaterThan(0.9999)
  expect((await checkRoutes(new StubModel())).leastCosine).toBeGreaterThan(0.9999)
})

test('queries that cut a picture a little differently are found out', async () => {
  const skewed: Pick<ImageModel, 'model' | 'fingerprint' | 'dims' | 'index' | 'analyse'> = {
    model: 'skewed',
    fingerprint: pool.fingerprint,
    dims: pool.dims,
    index: (image, digest) => pool.index(image, digest),
    analyse: (image, selection) => {
      if (typeof selection !== 'object' || !('box' in selection)) return pool.analyse(image, selection)
      const [x0, y0, x1, y1] = selection.box
      return pool.analyse(image, { box: [x0, y0, x1 - (x1 - x0) / 20, y1] })
    },
  }
  await expect(checkRoutes(skewed)).rejects.toMatchObject({
    code: 'model-invalid',
    message: expect.stringContaining('another vector in a query than in indexing'),
  })
})

test('a pool that refuses pictures of that size can be opened all the same', async () => {
  const log = pino({ level: 'silent' })
  const small = { modelSet: 'v1', processes: 1, clock: () => performance.now(), log, maxPixels: 10_000 }
  const strict = await ModelPool.open(small)
  expect(await checkRoutes(strict)).toEqual({ leastCosine: null })
  await strict.close()
})
