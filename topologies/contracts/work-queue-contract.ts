import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { WorkPriority } from '../../schemas/embed-job.ts'
import type { ClaimedJob, NewJob, WorkQueue } from '../work-queue.ts'

/** One queue's storage during a test. */
export interface WorkQueueFixture {
  /** Opens the queue; after `close` of the one before, again on the same storage. */
  open(): Promise<WorkQueue>
  /** Lets so much time pass for the queue. */
  elapse(ms: number): Promise<void>
  dispose(): Promise<void>
}

const leaseMs = 60_000
const patienceMs = 30_000

/** What every WorkQueue must do. */
export function workQueueContract(name: string, createFixture: () => Promise<WorkQueueFixture>): void {
  describe(`${name}: the work queue contract`, () => {
    let fixture: WorkQueueFixture
    let queue: WorkQueue

    beforeEach(async () => {
      fixture = await createFixture()
      queue = await fixture.open()
    })

    afterEach(async () => {
      await queue.close()
      await fixture.dispose()
    })

    const claimIds = async (max: number) => (await queue.claim(max, leaseMs, 0)).map(({ id }) => id)

    test('a job is claimed as it was added', async () => {
      const payload = Uint8Array.from([0, 1, 254, 255])
      await queue.add([{ id: 'g1-3-17', priority: 'standby', payload, delayMs: 0 }])
      const [claimed] = await queue.claim(10, leaseMs, 0)
      expect(claimed).toMatchObject({ id: 'g1-3-17', priority: 'standby', attempt: 1 })
      expect(Buffer.compare(claimed!.payload, payload)).toBe(0)
      expect(claimed!.addedAtMs).toBeGreaterThan(0)
    })

    test('jobs of a priority leave in the order they came', async () => {
      const ids = Array.from({ length: 30 }, (_, index) => `job-${index}`)
      await queue.add(ids.map(id => job(id)))
      expect([...(await claimIds(12)), ...(await claimIds(12)), ...(await claimIds(12))]).toEqual(ids)
    })

    test('live goes before standby before backfill', async () => {
      await queue.add([job('b', 'backfill'), job('s', 'standby'), job('l', 'live')])
      expect(await claimIds(3)).toEqual(['l', 's', 'b'])
    })

    test('backfill keeps at least 5% of the claims', async () => {
      const live = Array.from({ length: 200 }, (_, index) => job(`l-${index}`))
      const backfill = Array.from({ length: 50 }, (_, index) => job(`b-${index}`, 'backfill'))
      await queue.add([...live, ...backfill])
      const claimed: ClaimedJob[] = []
      while (claimed.length < 100) claimed.push(...(await queue.claim(10, leaseMs, 0)))
      const backfillClaims = claimed.filter(({ priority }) => priority === 'backfill').length
      expect(backfillClaims).toBeGreaterThanOrEqual(5)
      expect(backfillClaims).toBeLessThan(20)
    })

    test('adding a job that waits, is delayed or is claimed does nothing', async () => {
      await queue.add([job('waiting'), { ...job('delayed'), delayMs: 1e6 }])
      await queue.add([job('waiting'), job('delayed'), job('waiting')])
      const [claimed] = await queue.claim(10, leaseMs, 0)
      expect(claimed!.id).toBe('waiting')
      await queue.add([job('waiting')])
      expect(await queue.depth()).toEqual({ waiting: { live: 0, standby: 0, backfill: 0 }, delayed: 1, claimed: 1 })
    })

    test('adding a job again at another priority, sooner or with another payload changes nothing', async () => {
      await queue.add([job('waiting', 'backfill'), { ...job('delayed', 'backfill'), delayMs: 1e6 }])
      await queue.add([{ ...job('waiting', 'live'), payload: new Uint8Array() }, job('delayed', 'live')])
      expect(await queue.depth()).toEqual({ waiting: { live: 0, standby: 0, backfill: 1 }, delayed: 1, claimed: 0 })
      const [claimed] = await queue.claim(10, leaseMs, 0)
      expect(claimed).toMatchObject({ id: 'waiting', priority: 'backfill' })
      expect(Buffer.compare(claimed!.payload, job('waiting').payload)).toBe(0)
    })

    test('any text is an id, and payloads may be empty or large', async () => {
      const ids = ['17', '0', 'wait', 'meta', 'a:b', '%61', 'a b', '椅子🪑', 'g1-3-17-r2', '__proto__', 'constructor']
      const payload = Buffer.alloc(200_000, 'large')
      await queue.add(ids.map(id => ({ ...job(id), payload: id === '17' ? new Uint8Array() : payload })))
      expect(await queue.known([...ids, 'a', 'b'])).toEqual(new Set(ids))
      const claimed = await queue.claim(100, leaseMs, 0)
      expect(claimed.map(({ id }) => id)).toEqual(ids)
      expect(claimed.map(each => each.payload.length)).toEqual(ids.map(id => (id === '17' ? 0 : payload.length)))
      expect(await queue.renew(claimed, leaseMs)).toEqual([])
      await queue.complete(claimed)
      expect(await queue.known(ids)).toEqual(new Set())
    })

    test('nothing is added, renewed, completed or asked for', async () => {
      await queue.add([])
      expect(await queue.renew([], leaseMs)).toEqual([])
      await queue.complete([])
      expect(await queue.known([])).toEqual(new Set())
      expect(await queue.claim(10, leaseMs, 0)).toEqual([])
    })

    test('a completed job is gone and its id can run again', async () => {
      await queue.add([job('a')])
      const claimed = await queue.claim(1, leaseMs, 0)
      await queue.complete(claimed)
      expect(await queue.known(['a'])).toEqual(new Set())
      await queue.add([job('a')])
      expect((await queue.claim(1, leaseMs, 0)).map(({ id, attempt }) => [id, attempt])).toEqual([['a', 1]])
    })

    test('completing and adding in one breath runs the id again', async () => {
      await queue.add([job('a')])
      const claimed = await queue.claim(1, leaseMs, 0)
      await Promise.all([queue.complete(claimed), queue.add([job('a')])])
      expect(await claimIds(1)).toEqual(['a'])
    })

    test('no job is claimed twice by claims at once', async () => {
      await queue.add(Array.from({ length: 60 }, (_, index) => job(`job-${index}`)))
      const claims = await Promise.all(Array.from({ length: 10 }, () => queue.claim(8, leaseMs, 0)))
      const ids = claims.flat().map(({ id }) => id)
      expect(ids).toHaveLength(60)
      expect(new Set(ids).size).toBe(60)
    })

    test('known tells waiting, delayed and claimed jobs', async () => {
      await queue.add([job('claimed')])
      await queue.claim(1, leaseMs, 0)
      await queue.add([job('waiting'), { ...job('delayed'), delayMs: 1e6 }])
      expect(await queue.known(['claimed', 'waiting', 'delayed', 'never'])).toEqual(
        new Set(['claimed', 'waiting', 'delayed']),
      )
    })

    test('an expired lease makes the job waiting again and counts on', async () => {
      await queue.add([job('a')])
      const [first] = await queue.claim(1, 1000, 0)
      expect(await claimIds(1)).toEqual([])
      await fixture.elapse(1500)
      const [second] = await queue.claim(1, leaseMs, patienceMs)
      expect([second!.id, second!.attempt]).toEqual(['a', 2])
      expect(second!.token).not.toBe(first!.token)
    })

    test('the calls of a lapsed claim are ignored', async () => {
      await queue.add([job('a')])
      const lapsed = await queue.claim(1, 1000, 0)
      await fixture.elapse(1500)
      const [held] = await queue.claim(1, leaseMs, patienceMs)
      await queue.complete(lapsed)
      await queue.retry(lapsed[0]!, { delayMs: 0, priority: 'backfill' })
      expect(await queue.renew(lapsed, leaseMs)).toEqual(['a'])
      expect(await queue.depth()).toMatchObject({ claimed: 1 })
      await queue.complete([held!])
      expect(await queue.known(['a'])).toEqual(new Set())
    })

    test('a renewed lease holds', async () => {
      await queue.add([job('a')])
      const claimed = await queue.claim(1, 2000, 0)
      await fixture.elapse(1000)
      expect(await queue.renew(claimed, leaseMs)).toEqual([])
      await fixture.elapse(1500)
      expect(await claimIds(1)).toEqual([])
      await queue.complete(claimed)
      expect(await queue.known(['a'])).toEqual(new Set())
    })

    test('a retried job comes back after its delay, at its new priority, with its attempts', async () => {
      await queue.add([job('a')])
      const [claimed] = await queue.claim(1, leaseMs, 0)
      await queue.retry(claimed!, { delayMs: 1000, priority: 'backfill' })
      expect(await queue.depth()).toEqual({ waiting: { live: 0, standby: 0, backfill: 0 }, delayed: 1, claimed: 0 })
      expect(await claimIds(1)).toEqual([])
      await fixture.elapse(1500)
      const [again] = await queue.claim(1, leaseMs, patienceMs)
      expect(again).toMatchObject({ id: 'a', attempt: 2, priority: 'backfill', addedAtMs: claimed!.addedAtMs })
      expect(Buffer.compare(again!.payload, claimed!.payload)).toBe(0)
    })

    test('a claim that tried nothing does not count as an attempt', async () => {
      await queue.add([job('a')])
      for (const delayMs of [0, 1000, 0]) {
        const [claimed] = await queue.claim(1, leaseMs, patienceMs)
        expect(claimed).toMatchObject({ id: 'a', attempt: 1 })
        await queue.retry(claimed!, { delayMs, priority: 'live', isUntried: true })
        await fixture.elapse(1500)
      }
      const [claimed] = await queue.claim(1, leaseMs, patienceMs)
      await queue.retry(claimed!, { delayMs: 0, priority: 'live' })
      expect(await queue.claim(1, leaseMs, patienceMs)).toMatchObject([{ id: 'a', attempt: 2 }])
    })

    test('a job retried without delay goes to the end of its line', async () => {
      await queue.add([job('a'), job('b')])
      const [a] = await queue.claim(1, leaseMs, 0)
      await queue.retry(a!, { delayMs: 0, priority: 'live' })
      const claimed = await queue.claim(10, leaseMs, 0)
      expect(claimed.map(({ id, attempt }) => [id, attempt])).toEqual([
        ['b', 1],
        ['a', 2],
      ])
    })

    test('a job whose lease is over waits at its priority, also when claimers die on it again and again', async () => {
      await queue.add([job('bad', 'backfill')])
      for (let attempt = 1; attempt <= 3; attempt++) {
        const [claimed] = await queue.claim(1, 300, patienceMs)
        expect(claimed).toMatchObject({ id: 'bad', attempt, priority: 'backfill' })
        await fixture.elapse(500)
      }
      await queue.add([job('good')])
      const claims: ClaimedJob[] = []
      while (claims.length < 2) claims.push(...(await queue.claim(5, leaseMs, patienceMs)))
      expect(claims.map(({ id, attempt }) => [id, attempt])).toEqual([
        ['good', 1],
        ['bad', 4],
      ])
    })

    test('a delayed job waits for its time', async () => {
      await queue.add([{ ...job('late'), delayMs: 1000 }, job('now')])
      expect(await claimIds(5)).toEqual(['now'])
      await fixture.elapse(1500)
      expect((await queue.claim(5, leaseMs, patienceMs)).map(({ id }) => id)).toEqual(['late'])
    })

    test('adding wakes a waiting claim', async () => {
      const claimed = queue.claim(5, leaseMs, patienceMs)
      await queue.add([job('wake')])
      expect((await claimed).map(({ id }) => id)).toEqual(['wake'])
    })

    test('closing ends a waiting claim', async () => {
      const claimed = queue.claim(5, leaseMs, patienceMs)
      await queue.close()
      expect(await claimed).toEqual([])
    })

    test('jobs outlive the opening; those claimed by it are waiting again, attempts counted', async () => {
      await queue.add([job('claimed'), { ...job('delayed'), delayMs: 1e6 }, job('waiting', 'standby')])
      await queue.claim(1, 1000, 0)
      await queue.close()
      queue = await fixture.open()
      await fixture.elapse(1500)
      const claims: ClaimedJob[] = []
      while (claims.length < 2) claims.push(...(await queue.claim(5, leaseMs, patienceMs)))
      expect(claims.map(({ id, attempt, priority }) => [id, attempt, priority]).toSorted()).toEqual([
        ['claimed', 2, 'live'],
        ['waiting', 1, 'standby'],
      ])
      expect(await queue.depth()).toMatchObject({ delayed: 1 })
    })

    test('a completed job does not come back with the next opening', async () => {
      await queue.add([job('done'), job('open')])
      const claimed = await queue.claim(1, 1000, 0)
      await queue.complete(claimed)
      await queue.close()
      queue = await fixture.open()
      expect(await queue.known(['done', 'open'])).toEqual(new Set(['open']))
    })
  })
}

function job(id: string, priority: WorkPriority = 'live'): NewJob {
  return { id, priority, payload: new TextEncoder().encode(`payload of ${id}`), delayMs: 0 }
}
