import fc from 'fast-check'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { type LaneBounds, QueryLane } from './query-lane.ts'

beforeEach(() => {
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
})

const bounds: LaneBounds = { maxRunning: 2, maxWaiting: 3, maxWaitMs: 100 }
const never = new AbortController().signal

function open(more: Partial<LaneBounds> = {}) {
  const refused: string[] = []
  const waited: number[] = []
  const lane = new QueryLane({ ...bounds, ...more }, () => performance.now(), {
    waited: ms => waited.push(ms),
    refused: reason => refused.push(reason),
  })
  const begun: string[] = []
  const gates = new Map<string, PromiseWithResolvers<void>>()
  const run = (name: string, { patienceMs = 60_000, signal = never } = {}) => {
    const gate = Promise.withResolvers<void>()
    gates.set(name, gate)
    const query = async () => {
      begun.push(name)
      await gate.promise
      return name
    }
    return lane.run(query, { patienceMs, signal }).then(
      done => done,
      (thrown: { readonly code?: string; readonly message: string }) => thrown.code ?? thrown.message,
    )
  }
  const end = async (name: string) => {
    gates.get(name)!.resolve()
    await vi.advanceTimersByTimeAsync(0)
  }
  return { lane, refused, waited, begun, run, end }
}

test('so many at once, the others in order of arrival, and no more than may wait', async () => {
  const { lane, run, end, begun, refused } = open()
  const outcomes = ['a', 'b', 'c', 'd', 'e'].map(name => run(name))
  expect([lane.running, lane.waiting]).toEqual([2, 3])
  expect(await run('f')).toBe('overloaded')
  expect(refused).toEqual(['queue-full'])
  await end('b')
  expect(begun).toEqual(['a', 'b', 'c'])
  for (const name of ['a', 'c', 'd', 'e']) await end(name)
  expect(await Promise.all(outcomes)).toEqual(['a', 'b', 'c', 'd', 'e'])
  expect([lane.running, lane.waiting]).toEqual([0, 0])
})

test('who waited as long as anyone may is refused then, and never run', async () => {
  const { run, end, begun, refused, lane } = open()
  const running = [run('a'), run('b')]
  const late = run('late')
  await vi.advanceTimersByTimeAsync(100)
  expect(await late).toBe('overloaded')
  const impatient = run('impatient', { patienceMs: 10 })
  await vi.advanceTimersByTimeAsync(10)
  expect(await impatient).toBe('overloaded')
  expect(refused).toEqual(['waited-too-long', 'waited-too-long'])
  for (const name of ['a', 'b']) await end(name)
  await Promise.all(running)
  expect(begun).toEqual(['a', 'b'])
  expect([lane.running, lane.waiting]).toEqual([0, 0])
})

test('who waited too long is not run even where timers are late', async () => {
  const { run, end, begun } = open({ maxRunning: 1 })
  const first = run('a')
  const second = run('b')
  // The process was busy all the while: time has passed, and no timer has run.
  vi.setSystemTime(Date.now())
  const now = performance.now()
  vi.spyOn(performance, 'now').mockImplementation(() => now + 101)
  await end('a')
  expect([await first, await second]).toEqual(['a', 'overloaded'])
  expect(begun).toEqual(['a'])
  vi.restoreAllMocks()
})

test('who would wait too long, by what queries took, is refused on arrival, with the time until then', async () => {
  const { lane, run, end, refused } = open({ maxRunning: 1 })
  const slow = run('slow')
  await vi.advanceTimersByTimeAsync(30)
  await end('slow')
  await slow
  const running = run('a')
  const second = run('b')
  expect(lane.expectedWaitMs).toBe(60)
  expect(await run('c')).toBe('overloaded')
  expect(refused).toEqual(['wait-too-long'])
  expect(lane.refuse('wait-too-long').details).toMatchObject({ retryAfterMs: 1_000 })
  await end('a')
  await end('b')
  await Promise.all([running, second])
  // Where there is room nobody is refused, however long queries took.
  expect(lane.refusal(1)).toBe(null)
})

test('nobody waits longer than queries take, but some always may', async () => {
  const { lane, run, end } = open({ maxRunning: 1, maxWaitMs: 1_000 })
  expect(lane.longestWaitMs).toBe(1_000)
  const longest: number[] = []
  for (const tookMs of [300, 100, 1]) {
    for (let i = 0; i < 100; i++) {
      const name = `${tookMs} ${i}`
      const done = run(name)
      await vi.advanceTimersByTimeAsync(tookMs)
      await end(name)
      await done
    }
    longest.push(Math.round(lane.longestWaitMs))
  }
  expect(longest).toEqual([300, 100, 40])
})

test('a line that never gets empty is kept shorter than one that a burst makes', async () => {
  const { lane, run, end } = open({ maxRunning: 4, maxWaiting: 100, maxWaitMs: 1_000 })
  let arrived = 0
  let ended = 0
  const pending: Promise<unknown>[] = []
  const arrive = (): void => void pending.push(run(`q${arrived++}`))
  const fill = (): void => {
    while (lane.refusal() === null) arrive()
  }
  /** The oldest ends, after another tenth of the time that each takes. */
  const pass = async (): Promise<void> => {
    await vi.advanceTimersByTimeAsync(10)
    await end(`q${ended++}`)
  }
  for (let i = 0; i < 4; i++) arrive()
  await vi.advanceTimersByTimeAsync(30)
  for (let i = 0; i < 4; i++) await pass()
  expect(lane.running).toBe(0)
  fill()
  const burst = lane.waiting
  for (let i = 0; i < 40; i++) {
    await pass()
    fill()
  }
  const standing = lane.waiting
  expect([burst, standing]).toEqual([3, 2])
  while (lane.running > 0) await pass()
  fill()
  expect(lane.waiting).toBe(burst)
  while (lane.running > 0) await pass()
  await Promise.all(pending)
})

test('who has gone gives up the place in the line', async () => {
  const { lane, run, end, begun } = open({ maxRunning: 1 })
  const client = new AbortController()
  const first = run('a')
  const gone = run('gone', { signal: client.signal })
  const third = run('c')
  client.abort(new Error('left'))
  expect(await gone).toBe('left')
  expect(lane.waiting).toBe(1)
  await end('a')
  await end('c')
  expect([await first, await third]).toEqual(['a', 'c'])
  expect(begun).toEqual(['a', 'c'])
  expect(await run('d', { signal: client.signal })).toBe('left')
})

test('a query that fails leaves its place to the next', async () => {
  const { lane } = open({ maxRunning: 1 })
  const turn = { patienceMs: 1_000, signal: never }
  const failed = lane.run(() => Promise.reject(new Error('broken')), turn)
  const next = lane.run(async () => 'next', turn)
  await expect(failed).rejects.toThrow('broken')
  expect(await next).toBe('next')
})

test('whatever comes and goes, the bounds hold and everyone is answered', async () => {
  const event = fc.oneof(
    fc.record({ type: fc.constant('arrive' as const), patienceMs: fc.integer({ min: 1, max: 200 }) }),
    fc.record({ type: fc.constant('end' as const), which: fc.nat() }),
    fc.record({ type: fc.constant('leave' as const), which: fc.nat() }),
    fc.record({ type: fc.constant('pass' as const), ms: fc.integer({ min: 1, max: 80 }) }),
  )
  await fc.assert(
    fc.asyncProperty(fc.array(event, { maxLength: 60 }), async events => {
      const { lane, run, end } = open()
      const outcomes: Promise<string>[] = []
      const clients: AbortController[] = []
      for (const each of events) {
        if (each.type === 'arrive') {
          const client = new AbortController()
          clients.push(client)
          outcomes.push(run(String(outcomes.length), { patienceMs: each.patienceMs, signal: client.signal }))
        } else if (each.type === 'pass') await vi.advanceTimersByTimeAsync(each.ms)
        else if (outcomes.length > 0 && each.type === 'end') await end(String(each.which % outcomes.length))
        else if (outcomes.length > 0) clients[each.which % outcomes.length]!.abort(new Error('left'))
        expect(lane.running).toBeLessThanOrEqual(bounds.maxRunning)
        expect(lane.waiting).toBeLessThanOrEqual(bounds.maxWaiting)
        expect(lane.waiting === 0 || lane.running === bounds.maxRunning).toBe(true)
      }
      for (let i = 0; i < outcomes.length; i++) await end(String(i))
      await vi.advanceTimersByTimeAsync(200)
      const answered = await Promise.all(outcomes)
      for (const [i, outcome] of answered.entries()) expect([String(i), 'overloaded', 'left']).toContain(outcome)
      expect([lane.running, lane.waiting]).toEqual([0, 0])
    }),
    { numRuns: 200 },
  )
})
