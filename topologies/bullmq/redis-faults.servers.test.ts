import { isDeepStrictEqual } from 'node:util'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import { RedisConnection } from '../redis/redis-connection.ts'
import { RedisServer, type RedisServerOptions } from '../servers/redis-server.ts'
import type { ClaimedJob, NewJob } from '../work-queue.ts'
import { BullmqWorkQueue } from './bullmq-work-queue.ts'

const leaseMs = 60_000
const patienceMs = 30_000
const nothing = { waiting: { live: 0, standby: 0, backfill: 0 }, delayed: 0, claimed: 0 }

let open: { readonly close: () => unknown }[]

beforeEach(() => {
  open = []
})

afterEach(async () => {
  for (const each of open.reverse()) await each.close()
})

async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const server = await RedisServer.start(options)
  open.push({ close: () => server.stop() })
  return server
}

function openQueue({ url }: RedisServer): BullmqWorkQueue {
  const queue = new BullmqWorkQueue({ redis: { url }, leaseCheckMs: 100 })
  open.push(queue)
  return queue
}

function connect({ url }: RedisServer): RedisConnection {
  const connection = new RedisConnection({ url }, { unavailable: 'queue-unavailable' })
  open.push({ close: () => connection.close() })
  return connection
}

/** Again and again while the queue is unavailable; any other failure ends the test. */
async function insist<T>(call: () => Promise<T>): Promise<T> {
  for (;;)
    try {
      return await call()
    } catch (thrown) {
      if (!(thrown instanceof FreshetError) || thrown.code !== 'queue-unavailable') throw thrown
      await new Promise(resolve => setTimeout(resolve, 20))
    }
}

test('Redis killed twice while jobs are added and claimed: what was acknowledged is there, and runs', async () => {
  const server = await startRedis({ appendSync: 'always' })
  const [producer, consumer] = [openQueue(server), openQueue(server)]
  const acknowledged: string[] = []
  const done = new Set<string>()
  let isAdding = true
  const addAll = async () => {
    for (let batch = 0; isAdding; batch++) {
      const added = jobs(`batch-${batch}`, 20)
      await insist(() => producer.add(added))
      acknowledged.push(...added.map(({ id }) => id))
    }
  }
  const claimSome = async () => {
    // What was claimed by a call whose answer was lost comes back after its lease.
    const claimed = await insist(() => consumer.claim(64, 1_000, 200))
    await insist(() => consumer.complete(claimed))
    for (const { id } of claimed) done.add(id)
  }
  const claimAll = async () => {
    while (isAdding) await claimSome()
  }
  const working = Promise.all([addAll(), claimAll()])
  for (let kill = 1; kill <= 2; kill++) {
    const before = done.size
    await expect.poll(() => done.size, { timeout: patienceMs }).toBeGreaterThan(before + 300)
    await server.kill()
    await server.startAgain()
  }
  const after = done.size
  await expect.poll(() => done.size, { timeout: patienceMs }).toBeGreaterThan(after + 300)
  isAdding = false
  await working
  while (!isDeepStrictEqual(await consumer.depth(), nothing)) await claimSome()
  expect([...done].toSorted()).toEqual(acknowledged.toSorted())
})

test('Redis away: calls fail soon, also a claim that waits, and the queue comes back by itself', async () => {
  const server = await startRedis()
  const queue = openQueue(server)
  await queue.add(jobs('a', 1))
  const claimed = await queue.claim(1, leaseMs, 0)
  const waiting = expect(queue.claim(1, leaseMs, patienceMs)).rejects.toMatchObject({ code: 'queue-unavailable' })
  await server.kill()
  await waiting
  const calls = [
    () => queue.add(jobs('b', 1)),
    () => queue.claim(1, leaseMs, patienceMs),
    () => queue.renew(claimed, leaseMs),
    () => queue.complete(claimed),
    () => queue.retry(claimed[0]!, { delayMs: 0, priority: 'live' }),
    () => queue.known(['a-0']),
    () => queue.depth(),
  ]
  for (const call of calls) await expect(call()).rejects.toMatchObject({ code: 'queue-unavailable', retryable: true })
  const neverUp = openQueue(server)
  await expect(neverUp.add(jobs('b', 1))).rejects.toMatchObject({ code: 'queue-unavailable' })
  await server.startAgain()
  expect(await insist(() => queue.renew(claimed, leaseMs))).toEqual([])
  await insist(() => neverUp.add(jobs('b', 1)))
  expect((await insist(() => queue.claim(5, leaseMs, patienceMs))).map(({ id }) => id)).toEqual(['b-0'])
})

test('Redis flushed: the queue goes on empty, and the calls of old claims are harmless', async () => {
  const server = await startRedis()
  const queue = openQueue(server)
  await queue.add([...jobs('a', 5), ...jobs('b', 5, 'backfill'), { ...jobs('late', 1)[0]!, delayMs: 1e6 }])
  const [held, ...others] = await queue.claim(3, leaseMs, 0)
  await connect(server).run(redis => redis.flushall())
  expect(await queue.depth()).toEqual(nothing)
  expect(await queue.known(['a-0', 'b-0', 'late-0'])).toEqual(new Set())
  await queue.add([...jobs('a', 1), ...jobs('new', 1)])
  expect(await queue.renew([held!, ...others], leaseMs)).toEqual(['a-0', 'a-1', 'a-2'])
  await queue.complete([held!, others[0]!])
  await queue.retry(others[1]!, { delayMs: 0, priority: 'backfill' })
  await queue.retry(held!, { delayMs: 1_000, priority: 'backfill' })
  expect(await queue.depth()).toEqual({ ...nothing, waiting: { live: 2, standby: 0, backfill: 0 } })
  const claimed = await queue.claim(10, leaseMs, 0)
  expect(claimed.map(({ id, attempt }) => [id, attempt])).toEqual([
    ['a-0', 1],
    ['new-0', 1],
  ])
})

test('Redis full of jobs: adding fails for as long, claiming goes on, and drained it takes jobs again', async () => {
  const server = await startRedis({ maxMemoryBytes: 12 * 2 ** 20 })
  const queue = openQueue(server)
  const outOfMemory = { code: 'queue-unavailable', retryable: true, details: { reason: 'out-of-memory' } }
  let batches = 0
  const fill = async () => {
    for (; ; batches++) await queue.add(jobs(`batch-${batches}`, 20, 'live', Buffer.alloc(5_000, 'x')))
  }
  await expect(fill()).rejects.toMatchObject(outOfMemory)
  expect(batches).toBeGreaterThan(10)
  await expect(queue.add(jobs('more', 1))).rejects.toMatchObject(outOfMemory)
  const claimed: ClaimedJob[] = []
  while (claimed.length < batches * 20) {
    const some = await queue.claim(64, leaseMs, 0)
    await queue.complete(some)
    claimed.push(...some)
  }
  await insist(() => queue.add(jobs('more', 1)))
  expect((await queue.claim(1, leaseMs, 0)).map(({ id }) => id)).toEqual(['more-0'])
})

test('Redis without any memory left: every call that writes says so, and works once there is room', async () => {
  const server = await startRedis()
  const [queue, admin] = [openQueue(server), connect(server)]
  await queue.add(jobs('a', 1))
  await admin.run(redis => redis.config('SET', 'maxmemory', '1kb'))
  const outOfMemory = { code: 'queue-unavailable', retryable: true, details: { reason: 'out-of-memory' } }
  await expect(queue.add(jobs('b', 1))).rejects.toMatchObject(outOfMemory)
  await expect(queue.claim(1, leaseMs, 0)).rejects.toMatchObject(outOfMemory)
  expect(await queue.known(['a-0', 'b-0'])).toEqual(new Set(['a-0']))
  await admin.run(redis => redis.config('SET', 'maxmemory', '512mb'))
  await insist(() => queue.add(jobs('b', 1)))
  expect((await queue.claim(5, leaseMs, 0)).map(({ id }) => id)).toEqual(['a-0', 'b-0'])
})

test('a read-only replica: calls that write say so', async () => {
  const replica = await startRedis({ replicaOfPort: (await startRedis()).port })
  const readOnly = { code: 'queue-unavailable', retryable: true, details: { reason: 'read-only' } }
  const queue = openQueue(replica)
  await expect(queue.add(jobs('a', 1))).rejects.toMatchObject(readOnly)
  await expect(queue.claim(1, leaseMs, 0)).rejects.toMatchObject(readOnly)
})

test('a wrong password is access denied', async () => {
  const { port } = await startRedis({ password: 'right' })
  const queue = new BullmqWorkQueue({ redis: { host: '127.0.0.1', port, password: 'wrong' } })
  open.push(queue)
  await expect(queue.add(jobs('a', 1))).rejects.toMatchObject({ code: 'access-denied', retryable: false })
  await expect(queue.claim(1, leaseMs, 100)).rejects.toMatchObject({ code: 'access-denied' })
})

test('jobs go over an encrypted connection with a password', async () => {
  const server = await startRedis({ tls: true, password: 'secret' })
  const queue = new BullmqWorkQueue({ redis: { url: server.url, tls: { ca: server.certificateAuthority! } } })
  open.push(queue)
  const claim = queue.claim(1, leaseMs, patienceMs)
  await queue.add(jobs('a', 1))
  expect((await claim).map(({ id }) => id)).toEqual(['a-0'])
})

function jobs(
  name: string,
  count: number,
  priority: NewJob['priority'] = 'live',
  payload: Uint8Array = Buffer.from(name),
): NewJob[] {
  return Array.from({ length: count }, (_, i) => ({ id: `${name}-${i}`, priority, payload, delayMs: 0 }))
}
