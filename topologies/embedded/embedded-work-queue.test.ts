import { afterEach, beforeEach, expect, test } from 'vitest'
import type { WorkPriority } from '../../schemas/embed-job.ts'
import type { NewJob } from '../work-queue.ts'
import { EmbeddedWorkQueue } from './embedded-work-queue.ts'
import type { EmbeddedEnvironment } from './environment.ts'
import { TemporaryEnvironment } from './testing/temporary-environment.ts'

const leaseMs = 60_000
const nothing = { waiting: { live: 0, standby: 0, backfill: 0 }, delayed: 0, claimed: 0 }

let temporary: TemporaryEnvironment
let environment: EmbeddedEnvironment
let queue: EmbeddedWorkQueue

beforeEach(async () => {
  temporary = await TemporaryEnvironment.create()
  await open()
})

afterEach(() => temporary.dispose())

async function open(): Promise<void> {
  environment = await temporary.open()
  queue = new EmbeddedWorkQueue(environment)
}

function job(id: string, priority: WorkPriority = 'live', delayMs = 0): NewJob {
  return { id, priority, payload: Buffer.from(id), delayMs }
}

const claimIds = async (max: number) => (await queue.claim(max, leaseMs, 0)).map(({ id }) => id)
/** Makes the transaction of everything issued in this tick fail. */
const failTransaction = () =>
  environment.write(() => {
    throw new Error('the transaction fails')
  })

test('a claim that cannot be stored is undone: order, attempts and leases as before', async () => {
  await queue.add(['a', 'b', 'c', 'd'].map(id => job(id)))
  const outcomes = await Promise.allSettled([queue.claim(2, 10, 0), queue.claim(1, 10, 0), failTransaction()])
  expect(outcomes.map(({ status }) => status)).toEqual(Array(3).fill('rejected'))
  expect(await queue.depth()).toEqual({ ...nothing, waiting: { live: 4, standby: 0, backfill: 0 } })
  const claimed = await queue.claim(4, leaseMs, 0)
  expect(claimed.map(({ id, attempt }) => [id, attempt])).toEqual([
    ['a', 1],
    ['b', 1],
    ['c', 1],
    ['d', 1],
  ])
  temporary.now += 20
  expect(await queue.depth()).toEqual({ ...nothing, claimed: 4 })
})

test('a completion that cannot be stored leaves the claim as it was', async () => {
  await queue.add([job('a')])
  const claimed = await queue.claim(1, leaseMs, 0)
  await Promise.allSettled([queue.complete(claimed), queue.add([job('a')]), failTransaction()])
  expect(await queue.depth()).toEqual({ ...nothing, claimed: 1 })
  await queue.complete(claimed)
  expect(await queue.known(['a'])).toEqual(new Set())
})

test('a retry that cannot be stored leaves the claim as it was', async () => {
  await queue.add([job('a')])
  const [claimed] = await queue.claim(1, leaseMs, 0)
  await Promise.allSettled([queue.retry(claimed!, { delayMs: 10, priority: 'backfill' }), failTransaction()])
  expect(await queue.depth()).toEqual({ ...nothing, claimed: 1 })
  expect(await queue.renew([claimed!], leaseMs)).toEqual([])
  temporary.now += leaseMs + 1
  expect((await queue.claim(1, leaseMs, 0)).map(({ attempt, priority }) => [attempt, priority])).toEqual([[2, 'live']])
})

test('jobs that cannot be stored are not known', async () => {
  await Promise.allSettled([queue.add([job('a')]), failTransaction()])
  expect(await queue.known(['a'])).toEqual(new Set())
  expect(await queue.depth()).toEqual(nothing)
})

test('a job is not claimed before it is durable', async () => {
  const added = queue.add([job('a')])
  const claimed = queue.claim(1, leaseMs, 30_000)
  await added
  expect((await claimed).map(({ id }) => id)).toEqual(['a'])
})

test('the order of the lines outlives the opening, put-back jobs at their new place', async () => {
  await queue.add([job('a'), job('b', 'backfill'), job('c'), job('d'), job('late', 'live', 500)])
  const [a] = await queue.claim(1, leaseMs, 0)
  await queue.retry(a!, { delayMs: 0, priority: 'live' })
  await open()
  expect(await claimIds(10)).toEqual(['c', 'd', 'a', 'b'])
  await open()
  temporary.now += 600
  expect((await queue.claim(10, leaseMs, 0)).map(({ id, attempt }) => [id, attempt])).toEqual([
    ['c', 2],
    ['d', 2],
    ['a', 3],
    ['late', 1],
    ['b', 2],
  ])
})

test('a token of an earlier opening proves nothing', async () => {
  await queue.add([job('a')])
  const earlier = await queue.claim(1, leaseMs, 0)
  await open()
  await queue.claim(1, leaseMs, 0)
  await queue.complete(earlier)
  expect(await queue.depth()).toEqual({ ...nothing, claimed: 1 })
})

test('a waiting claim gets a job whose delay ends while it waits', async () => {
  const clock = performance.now() - temporary.now
  await environment.close()
  await temporary.dispose()
  temporary = await TemporaryEnvironment.create({ clock: () => performance.now() - clock })
  await open()
  await queue.add([job('soon', 'live', 20)])
  expect((await queue.claim(1, leaseMs, 30_000)).map(({ id }) => id)).toEqual(['soon'])
})

test('completed jobs leave no rows behind', async () => {
  await queue.add(Array.from({ length: 100 }, (_, index) => job(`job-${index}`)))
  await queue.complete(await queue.claim(100, leaseMs, 0))
  const range = { start: Buffer.alloc(1), end: Buffer.alloc(6, 255) }
  expect([...environment.range('jobs', range), ...environment.range('jobStates', range)]).toEqual([])
})
