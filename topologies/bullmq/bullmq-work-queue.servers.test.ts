import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { Queue, Worker } from 'bullmq'
import { afterAll, afterEach, beforeEach, describe, expect, inject, test } from 'vitest'
import type { WorkPriority } from '../../schemas/embed-job.ts'
import { workQueueContract } from '../contracts/work-queue-contract.ts'
import { RedisConnection } from '../redis/redis-connection.ts'
import type { ClaimedJob, NewJob } from '../work-queue.ts'
import { BullmqWorkQueue } from './bullmq-work-queue.ts'

const prefix = `test-${randomUUID()}`
const redis = { url: inject('servers').redisUrl }
const leaseMs = 60_000
const patienceMs = 30_000
const admin = new RedisConnection(redis, { unavailable: 'queue-unavailable' })

const keys = () => admin.run(client => client.keys(`${prefix}:*`))
const open = (queueName: string) => new BullmqWorkQueue({ redis, prefix, queueName, leaseCheckMs: 100 })

afterAll(async () => {
  const left = await keys()
  if (left.length > 0) await admin.run(client => client.del(left))
  admin.close()
})

workQueueContract('BullMQ', async () => {
  const queueName = randomUUID()
  return {
    open: async () => open(queueName),
    // The server's clock is the system's, so the time has to pass.
    elapse: ms => delay(ms),
    dispose: async () => {},
  }
})

describe('BullmqWorkQueue', () => {
  let queueName: string
  let queue: BullmqWorkQueue
  let other: BullmqWorkQueue

  beforeEach(() => {
    queueName = randomUUID()
    queue = open(queueName)
    other = open(queueName)
  })

  afterEach(() => Promise.all([queue.close(), other.close()]))

  /** A claim of nothing looks for leases that are over. */
  const depthAfterCheck = async () => {
    await queue.claim(0, leaseMs, 0)
    return queue.depth()
  }

  test.each<WorkPriority>(['live', 'backfill'])('10,000 jobs of priority %s keep their order', async priority => {
    const added = jobs(10_000, priority)
    await queue.add(added)
    const ids: string[] = []
    while (ids.length < added.length) {
      const claimed = await queue.claim(512, leaseMs, 0)
      ids.push(...claimed.map(({ id }) => id))
      await queue.complete(claimed)
    }
    expect(ids).toEqual(added.map(({ id }) => id))
  })

  test('claimers of two processes never hold the same job', async () => {
    await queue.add([...jobs(1_500, 'live'), ...jobs(500, 'backfill')])
    const ids: string[] = []
    const claimAll = async (claimer: BullmqWorkQueue) => {
      for (;;) {
        const claimed = await claimer.claim(37, leaseMs, 0)
        if (claimed.length === 0) return
        ids.push(...claimed.map(({ id }) => id))
      }
    }
    await Promise.all([queue, other, queue, other].map(claimAll))
    expect(ids).toHaveLength(2_000)
    expect(new Set(ids).size).toBe(2_000)
  })

  test('backfill keeps its share of the claims of two claimers, large and small', async () => {
    await queue.add([...jobs(1_200, 'live'), ...jobs(50, 'standby'), ...jobs(200, 'backfill')])
    const claimed: ClaimedJob[] = []
    while (claimed.length < 1_000)
      claimed.push(...(await queue.claim(64, leaseMs, 0)), ...(await other.claim(3, leaseMs, 0)))
    const backfill = claimed.filter(({ priority }) => priority === 'backfill')
    expect(backfill.length).toBeGreaterThanOrEqual(claimed.length * 0.05 - 2)
    expect(backfill.length).toBeLessThanOrEqual(claimed.length * 0.05 + 2)
    expect(backfill.map(({ id }) => id)).toEqual(jobs(backfill.length, 'backfill').map(({ id }) => id))
  })

  test('backfill that had its turn is backfill when it comes back', async () => {
    await queue.add([...jobs(40, 'live'), ...jobs(2, 'backfill')])
    const claimed = await queue.claim(20, 100, 0)
    expect(claimed.map(({ id }) => id)).toContain('backfill-0')
    await queue.complete(claimed.filter(({ priority }) => priority === 'live'))
    const expected = { waiting: { live: 21, standby: 0, backfill: 2 }, delayed: 0, claimed: 0 }
    await expect.poll(() => depthAfterCheck(), { timeout: patienceMs }).toEqual(expected)
  })

  test('a job wakes all claims that wait, in this process and in others', async () => {
    const claims = [queue, queue, other, other].map(claimer => claimer.claim(1, leaseMs, patienceMs))
    await queue.add(jobs(4, 'standby'))
    const claimed = (await Promise.all(claims)).flat()
    expect(claimed.map(({ id }) => id).toSorted()).toEqual(jobs(4, 'standby').map(({ id }) => id))
  })

  test('a claim that joins the wait of another one ends at its own time', async () => {
    const first = queue.claim(1, leaseMs, patienceMs)
    await expect.poll(() => queue.claim(1, leaseMs, 30)).toEqual([])
    await queue.add(jobs(1, 'live'))
    expect((await first).map(({ id }) => id)).toEqual(['live-0'])
  })

  test('a waiting claim gets a job when its delay ends, whoever added it', async () => {
    const claim = queue.claim(1, leaseMs, patienceMs)
    await other.add([{ ...jobs(1, 'standby')[0]!, delayMs: 300 }])
    expect((await claim).map(({ id }) => id)).toEqual(['standby-0'])
  })

  test('thousands of jobs are added, asked for, renewed and completed at once', async () => {
    const added = jobs(3_000, 'live')
    await queue.add(added)
    const ids = added.map(({ id }) => id)
    expect(await queue.known([...ids, 'never'])).toEqual(new Set(ids))
    const claimed: ClaimedJob[] = []
    while (claimed.length < added.length) claimed.push(...(await queue.claim(5_000, leaseMs, 0)))
    expect(await queue.renew(claimed, leaseMs)).toEqual([])
    await queue.complete(claimed)
    expect(await queue.depth()).toEqual({ waiting: { live: 0, standby: 0, backfill: 0 }, delayed: 0, claimed: 0 })
  })

  test('finished jobs leave nothing behind', async () => {
    await queue.add(jobs(20, 'live'))
    const [first, ...rest] = await queue.claim(20, leaseMs, 0)
    await queue.retry(first!, { delayMs: 1, priority: 'backfill' })
    await queue.complete(rest)
    await queue.complete(await queue.claim(1, leaseMs, patienceMs))
    expect((await keys()).filter(key => key.includes(`${queueName}:job-`))).toEqual([])
  })

  test("BullMQ's own tools see the jobs; what they add under our name is dropped", async () => {
    const tool = new Queue(queueName, { connection: admin.client, prefix })
    await queue.add([...jobs(2, 'live'), ...jobs(3, 'backfill'), { ...jobs(9, 'standby')[8]!, delayMs: 1e6 }])
    expect(await tool.getJobCounts('wait', 'prioritized', 'delayed')).toEqual({ wait: 2, prioritized: 3, delayed: 1 })
    await tool.add('foreign', { not: 'ours' }, { lifo: true })
    const claimed = await queue.claim(10, leaseMs, 0)
    expect(claimed).toHaveLength(5)
    expect(await queue.depth()).toMatchObject({ claimed: 5 })
    await tool.close()
  })

  test("BullMQ's own worker takes and ends jobs of each line, and what was claimed here is active there", async () => {
    const tool = new Queue(queueName, { connection: admin.client, prefix })
    await queue.add([...jobs(3, 'live'), ...jobs(2, 'standby'), ...jobs(2, 'backfill')])
    const [held] = await queue.claim(1, leaseMs, 0)
    expect((await tool.getActive()).map(({ name, data, attemptsStarted }) => [name, data, attemptsStarted])).toEqual([
      ['live', Buffer.from(held!.payload).toString('base64'), 1],
    ])
    const seen: string[] = []
    const worker = new Worker<string>(
      queueName,
      async ({ name, data }) => seen.push(`${name}: ${Buffer.from(data, 'base64')}`),
      { connection: { url: redis.url, maxRetriesPerRequest: null }, prefix, removeOnComplete: { count: 0 } },
    )
    const rest = ['live: payload 1', 'live: payload 2', 'standby: payload 0', 'standby: payload 1']
    await expect
      .poll(() => seen, { timeout: patienceMs })
      .toEqual([...rest, 'backfill: payload 0', 'backfill: payload 1'])
    await worker.close()
    await queue.complete([held!])
    expect(await queue.depth()).toEqual({ waiting: { live: 0, standby: 0, backfill: 0 }, delayed: 0, claimed: 0 })
    await tool.close()
  })

  test("while BullMQ's tools have the queue paused nothing is claimed", async () => {
    const tool = new Queue(queueName, { connection: admin.client, prefix })
    await tool.pause()
    await queue.add(jobs(2, 'live'))
    expect(await queue.claim(2, leaseMs, 50)).toEqual([])
    const claim = queue.claim(2, leaseMs, patienceMs)
    await tool.resume()
    expect((await claim).map(({ id }) => id)).toEqual(['live-0', 'live-1'])
    await tool.close()
  })

  test('a job of which only the place in the line is left is dropped', async () => {
    await queue.add([...jobs(2, 'live'), ...jobs(2, 'backfill')])
    for (const id of ['live-0', 'backfill-1']) await admin.run(client => client.del(`${prefix}:${queueName}:job-${id}`))
    expect((await queue.claim(10, leaseMs, 0)).map(({ id }) => id)).toEqual(['live-1', 'backfill-0'])
    expect(await queue.depth()).toEqual({ waiting: { live: 0, standby: 0, backfill: 0 }, delayed: 0, claimed: 2 })
  })

  test('queues of other names do not see each other', async () => {
    const stranger = open(randomUUID())
    await queue.add(jobs(1, 'live'))
    expect(await stranger.claim(1, leaseMs, 0)).toEqual([])
    await stranger.close()
  })
})

function jobs(count: number, priority: WorkPriority): NewJob[] {
  return Array.from({ length: count }, (_, i) => ({
    id: `${priority}-${i}`,
    priority,
    payload: Buffer.from(`payload ${i}`),
    delayMs: 0,
  }))
}
