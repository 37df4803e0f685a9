import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Redis } from 'ioredis'
import { expect, test } from 'vitest'
import { RedisServer } from './redis-server.ts'

async function once<T>({ url }: RedisServer, commands: (redis: Redis) => Promise<T>): Promise<T> {
  const redis = new Redis(url)
  try {
    return await commands(redis)
  } finally {
    redis.disconnect()
  }
}

test('what it holds outlives its death, on the same port; stopped, it leaves nothing', async () => {
  const server = await RedisServer.start()
  const directory = await once(server, async redis => {
    await redis.set('kept', 'yes')
    const [, folder] = (await redis.config('GET', 'dir')) as string[]
    return folder!
  })
  const { url, pid } = server
  await server.kill()
  expect(server.pid).toBeNull()
  await server.startAgain()
  expect(server.url).toBe(url)
  expect(server.pid).not.toBe(pid)
  expect(await once(server, redis => redis.get('kept'))).toBe('yes')
  await server.startAgain()
  await server.stop()
  expect([server.pid, existsSync(directory)]).toEqual([null, false])
})

test('a directory that was given stays, and is taken up again', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'freshet-redis-test-'))
  for (const expected of [null, 'yes']) {
    const server = await RedisServer.start({ directory })
    expect(await once(server, redis => redis.get('kept'))).toBe(expected)
    await once(server, redis => redis.set('kept', 'yes'))
    await server.stop()
  }
  await rm(directory, { recursive: true })
})

test('a port that is taken is an error that says so', async () => {
  const server = await RedisServer.start()
  await expect(RedisServer.start({ port: server.port })).rejects.toThrow('Address already in use')
  await server.stop()
})
