import { afterEach, beforeEach, expect, test } from 'vitest'
import { EmbeddedFeatureStore } from './embedded-feature-store.ts'
import type { EmbeddedEnvironment } from './environment.ts'
import { TemporaryEnvironment } from './testing/temporary-environment.ts'

let temporary: TemporaryEnvironment
let environment: EmbeddedEnvironment
let store: EmbeddedFeatureStore

beforeEach(async () => {
  temporary = await TemporaryEnvironment.create()
  environment = await temporary.open()
  store = new EmbeddedFeatureStore(environment)
})

afterEach(() => temporary.dispose())

const rowCount = () => [...environment.range('features', { start: Buffer.alloc(1), end: Buffer.from([255]) })].length

test('upkeep removes forgotten values, and only those', async () => {
  const keys = Array.from({ length: 1500 }, (_, index) => `key-${index}`)
  await store.raise(
    keys.map((key, value) => ({ key, value })),
    1000,
  )
  await store.raise([{ key: 'kept', value: 1 }], 10_000)
  temporary.now += 2000
  await environment.compactNow()
  expect(rowCount()).toBe(1)
  expect(await store.read(['kept', 'key-7'])).toEqual([1, undefined])
})

test('a key over the limit is refused before it can disturb others', async () => {
  const key = 'é'.repeat(1000)
  await expect(store.raise([{ key, value: 1 }], 1000)).rejects.toMatchObject({ code: 'record-too-large' })
  await expect(store.raise([{ key: '', value: 1 }], 1000)).rejects.toMatchObject({ code: 'record-too-large' })
  expect(rowCount()).toBe(0)
})
