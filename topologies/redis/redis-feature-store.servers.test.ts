import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { expect, inject, test } from 'vitest'
import { featureStoreContract } from '../contracts/feature-store-contract.ts'
import { RedisServer } from '../servers/redis-server.ts'
import { RedisFeatureStore } from './redis-feature-store.ts'

const open = (keyPrefix: string) => new RedisFeatureStore({ redis: { url: inject('servers').redisUrl }, keyPrefix })

featureStoreContract('Redis', async () => {
  const keyPrefix = `test:${randomUUID()}:`
  return {
    open: async () => open(keyPrefix),
    // The server's clock is the system's, so the time has to pass.
    elapse: ms => delay(ms),
    dispose: async () => {},
  }
})

test('stores with other prefixes do not see each other', async () => {
  const [one, other] = [open(`test:${randomUUID()}:`), open(`test:${randomUUID()}:`)]
  await one.raise([{ key: 'a', value: 1 }], 60_000)
  expect(await other.read(['a'])).toEqual([undefined])
  await Promise.all([one.close(), other.close()])
})

test('thousands of keys are raised and read at once', async () => {
  const store = open(`test:${randomUUID()}:`)
  const entries = Array.from({ length: 20_000 }, (_, value) => ({ key: `k${value}`, value }))
  await store.raise(entries, 60_000)
  expect(await store.read(entries.map(({ key }) => key))).toEqual(entries.map(({ value }) => value))
  await store.close()
})

test('a Redis that is away makes calls fail, and its return mends them', async () => {
  const server = await RedisServer.start()
  const store = new RedisFeatureStore({ redis: { url: server.url } })
  await store.raise([{ key: 'a', value: 7 }], 60_000)
  await server.kill()
  await expect(store.read(['a'])).rejects.toMatchObject({ code: 'feature-store-unavailable', retryable: true })
  await expect(store.raise([{ key: 'a', value: 8 }], 60_000)).rejects.toMatchObject({ retryable: true })
  await server.startAgain()
  await expect.poll(() => store.read(['a']).catch(() => 'away'), { timeout: 10_000 }).toEqual([7])
  await store.close()
  await server.stop()
})
