import { createNoopMeter } from '@opentelemetry/api'
import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { FreshetError } from '../schemas/errors.ts'
import { asOffset, asShardId, type Generation } from '../schemas/ids.ts'
import type { ShardHit, ShardSearchRequest, ShardSearchResult } from '../schemas/shard-api.ts'
import { defaultFanoutOptions, type FanoutOptions } from './fanout/fanout-options.ts'
import type { ShardRoute } from './replica-roster.ts'
import { type FanoutAnswer, type FanoutCall, ShardFanout } from './shard-fanout.ts'
import { allPartitions, fingerprint, hit, unitVector } from './testing/gateway-fixture.ts'
import { TableReplica } from './testing/table-replica.ts'

const request: ShardSearchRequest = { generation: 'g1' as Generation, fingerprint, vector: unitVector, k: 2 }
const broken = new FreshetError('replica-unavailable', 'broken')

interface Search {
  readonly asked: ShardSearchRequest
  readonly signal: AbortSignal
  readonly answer: (hits?: readonly ShardHit[], more?: Partial<ShardSearchResult>) => void
  readonly fail: (error?: FreshetError) => void
}

/** A replica whose searches a test ends one by one. */
class HandReplica extends TableReplica {
  readonly pending: Search[] = []
  /** Of all searches, those ended too. */
  asked = 0

  override search(asked: ShardSearchRequest, signal?: AbortSignal): Promise<ShardSearchResult> {
    const { promise, resolve, reject } = Promise.withResolvers<ShardSearchResult>()
    this.asked++
    this.pending.push({
      asked,
      signal: signal!,
      answer: (hits = [hit(this.replica, 0.5)], more = {}) =>
        resolve({ hits, watermarks: {}, indexAgeMs: 0, plan: 'graph', ...more }),
      fail: (error = broken) => reject(error),
    })
    return promise
  }
}

const replica = (name: string, shard = 0) => new HandReplica({ shard, replica: name, partitions: allPartitions })
const route = (replicas: readonly HandReplica[], stale: readonly HandReplica[] = []): ShardRoute => ({
  shard: replicas[0]?.shard ?? asShardId(0),
  replicas: [...replicas, ...stale],
  fresh: replicas,
  routable: replicas,
  behind: replicas.length === 0,
})

/** Time is moved by hand; the first of equally busy replicas is asked first. */
beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

type Changes = { readonly [K in keyof FanoutOptions]?: Partial<FanoutOptions[K]> | FanoutOptions[K] }

let isCrowded = false

afterEach(() => {
  isCrowded = false
})

function fanoutOf(changes: Changes = {}) {
  const options = { ...defaultFanoutOptions }
  for (const [key, change] of Object.entries(changes)) {
    const held = options[key as keyof FanoutOptions]
    Object.assign(options, { [key]: typeof change === 'object' ? { ...(held as object), ...change } : change })
  }
  const fanout = new ShardFanout({
    options,
    meter: createNoopMeter(),
    replicas: () => [],
    random: () => 0.999,
    isCrowded: () => isCrowded,
  })
  return (routes: readonly ShardRoute[], call: Partial<FanoutCall> & { readonly request?: object } = {}) =>
    fanout.search(
      routes,
      { ...request, ...call.request },
      {
        signal: call.signal ?? new AbortController().signal,
        wanted: call.wanted ?? 'results',
      },
    )
}

const idsOf = ({ hits }: FanoutAnswer) => hits.map(({ hit: { itemId } }) => itemId)
const whole = (total: number) => ({ coverage: { answered: total, total }, degraded: [] })
/** So that hedges have tokens. */
async function earn(search: ReturnType<typeof fanoutOf>, times: number): Promise<void> {
  const other = replica('other', 99)
  for (let i = 0; i < times; i++) {
    const answer = search([route([other])])
    other.pending.pop()!.answer()
    await answer
  }
}

describe('of processes that hold replicas of every shard', () => {
  const shards = [0, 1, 2, 3]
  const process = (name: string) =>
    shards.map(shard => Object.assign(replica(`${name}-${shard}`, shard), { address: `http://${name}` }))
  const askedOf = (replicas: readonly HandReplica[]) => replicas.reduce((sum, { asked }) => sum + asked, 0)

  test('each has a part of a query while nothing is in hand, and one has all of it under load', async () => {
    const [a, b] = [process('a'), process('b')]
    const search = fanoutOf()
    const routes = shards.map(shard => route([a[shard]!, b[shard]!]))
    void search(routes)
    expect([askedOf(a), askedOf(b)]).toEqual([2, 2])
    void search(routes)
    const afterTwo = [askedOf(a), askedOf(b)]
    expect(afterTwo.toSorted()).toEqual([2, 6])
    // The other one is less busy now.
    void search(routes)
    expect([askedOf(a), askedOf(b)]).toEqual([6, 6])
  })
})

describe('a slow shard', () => {
  test('is asked a second time, of another replica; the first good answer counts and the other request ends', async () => {
    const [a, b] = [replica('a'), replica('b')]
    const search = fanoutOf()
    await earn(search, 40)
    const answer = search([route([a, b])])
    await vi.advanceTimersByTimeAsync(49)
    expect([a.asked, b.asked]).toEqual([1, 0])
    await vi.advanceTimersByTimeAsync(1)
    expect([a.asked, b.asked]).toEqual([1, 1])
    b.pending[0]!.answer()
    expect(await answer).toMatchObject(whole(1))
    expect(idsOf(await answer)).toEqual(['b'])
    expect(a.pending[0]!.signal.aborted).toBe(true)
    expect(b.pending[0]!.signal.aborted).toBe(false)
  })

  test('that answers after all, before the second replica, is not asked in vain for long', async () => {
    const [a, b] = [replica('a'), replica('b')]
    const search = fanoutOf()
    await earn(search, 40)
    const answer = search([route([a, b])])
    await vi.advanceTimersByTimeAsync(50)
    a.pending[0]!.answer()
    expect(idsOf(await answer)).toEqual(['a'])
    expect(b.pending[0]!.signal.aborted).toBe(true)
  })

  test('is asked again later where the budget is used up, and never where it stays so', async () => {
    const [a, b, c, d] = [replica('a'), replica('b'), replica('c', 2), replica('d', 2)]
    const search = fanoutOf()
    const answer = search([route([a, b])])
    await vi.advanceTimersByTimeAsync(149)
    expect(b.asked).toBe(0)
    await earn(search, 22)
    await vi.advanceTimersByTimeAsync(1)
    expect(b.asked).toBe(1)
    b.pending[0]!.answer()
    await answer
    const late = search([route([c, d])])
    await vi.advanceTimersByTimeAsync(1_999)
    expect(d.asked).toBe(0)
    c.pending[0]!.answer()
    expect(await late).toMatchObject(whole(1))
  })

  test('is asked a second time after what is long for this shard', async () => {
    const [a, b] = [replica('a'), replica('b')]
    const search = fanoutOf()
    await earn(search, 100)
    for (let i = 0; i < 100; i++) {
      const answer = search([route([a, b])])
      await vi.advanceTimersByTimeAsync(i % 10 === 0 ? 20 : 8)
      for (const { pending } of [a, b]) pending.pop()?.answer()
      await answer
    }
    expect([a.asked, b.asked]).toEqual([100, 0])
    void search([route([a, b])])
    await vi.advanceTimersByTimeAsync(19)
    expect(b.asked).toBe(0)
    await vi.advanceTimersByTimeAsync(3)
    expect(b.asked).toBe(1)
  })

  test('is waited for four times as long while queries wait for their turn', async () => {
    const [a, b] = [replica('a'), replica('b')]
    const search = fanoutOf()
    await earn(search, 40)
    isCrowded = true
    const answer = search([route([a, b])])
    await vi.advanceTimersByTimeAsync(199)
    expect([a.asked, b.asked]).toEqual([1, 0])
    await vi.advanceTimersByTimeAsync(1)
    expect([a.asked, b.asked]).toEqual([1, 1])
    b.pending[0]!.answer()
    expect(idsOf(await answer)).toEqual(['b'])
  })

  test('with an exact search is waited for', async () => {
    const [a, b] = [replica('a'), replica('b')]
    const search = fanoutOf()
    await earn(search, 40)
    const answer = search([route([a, b])], { request: { exact: true } })
    await vi.advanceTimersByTimeAsync(1_900)
    expect(b.asked).toBe(0)
    a.pending[0]!.answer()
    expect(await answer).toMatchObject(whole(1))
  })

  test('that is too late is left out, told, and its requests end', async () => {
    const [a, b, c] = [replica('a'), replica('b', 1), replica('c', 1)]
    const search = fanoutOf()
    await earn(search, 40)
    const answer = search([route([a]), route([b, c])])
    a.pending[0]!.answer()
    await vi.advanceTimersByTimeAsync(2_000)
    expect(await answer).toMatchObject({ coverage: { answered: 1, total: 2 }, degraded: ['shard-timeout'] })
    for (const { pending } of [b, c]) expect(pending[0]!.signal.aborted).toBe(true)
    b.pending[0]!.answer()
  })

  test('is no sick one for queries of little time, nor for exact ones', async () => {
    const [a, b] = [replica('a'), replica('b')]
    const search = fanoutOf()
    await earn(search, 40)
    for (let i = 0; i < 30; i++) {
      const given = new AbortController()
      const answer = search([route([a, b])], { signal: given.signal, request: { exact: i % 2 === 0 } })
      const thrown = expect(answer).rejects.toMatchObject({ code: 'not-ready' })
      if (i % 2 === 1) given.abort()
      else await vi.advanceTimersByTimeAsync(2_000)
      await thrown
    }
    void search([route([a, b])])
    expect([a.asked, b.asked]).toEqual([31, 0])
    await vi.advanceTimersByTimeAsync(49)
    expect(b.asked).toBe(0)
  })

  test('ends with the query', async () => {
    const a = replica('a')
    const given = new AbortController()
    const answer = fanoutOf()([route([a])], { signal: given.signal })
    const thrown = expect(answer).rejects.toMatchObject({ code: 'not-ready', details: { degraded: ['shard-timeout'] } })
    given.abort()
    await thrown
    expect(a.pending[0]!.signal.aborted).toBe(true)
  })
})

describe('a replica that fails', () => {
  test.each([
    ['says so', (search: Search) => search.fail()],
    ['gives more than was asked for', (search: Search) => search.answer([hit('a', 0.9), hit('b', 0.8), hit('c', 0.7)])],
    ['gives results in disorder', (search: Search) => search.answer([hit('a', 0.1), hit('b', 0.8)])],
    ['gives no number as similarity', (search: Search) => search.answer([hit('a', Number.NaN)])],
    ['gives an impossible similarity', (search: Search) => search.answer([hit('a', 17)])],
    ['tells of partitions of others', (search: Search) => search.answer([], { watermarks: { 99: asOffset(3) } })],
    [
      'says that its model is another one',
      (search: Search) => search.fail(new FreshetError('fingerprint-mismatch', 'another model')),
    ],
  ])('%s: another one is asked at once', async (_what, end) => {
    const [a, b] = [replica('a'), replica('b')]
    const answer = fanoutOf()([route([a, b])])
    end(a.pending[0]!)
    await vi.advanceTimersByTimeAsync(0)
    b.pending[0]!.answer()
    expect(await answer).toMatchObject(whole(1))
    expect(idsOf(await answer)).toEqual(['b'])
  })

  test('while the other one is asked already: that one is waited for', async () => {
    const [a, b] = [replica('a'), replica('b')]
    const search = fanoutOf()
    await earn(search, 40)
    const answer = search([route([a, b])])
    await vi.advanceTimersByTimeAsync(50)
    a.pending[0]!.fail()
    await vi.advanceTimersByTimeAsync(10)
    expect([a.asked, b.asked]).toEqual([1, 1])
    b.pending[0]!.answer()
    expect(await answer).toMatchObject(whole(1))
  })

  test('is replaced within the budget only, else it is told', async () => {
    const search = fanoutOf({ extra: { reserve: 3, burst: 3 }, breaker: { failures: 1_000, window: 1_000 } })
    const healthy = replica('healthy', 1)
    const degraded: (readonly string[])[] = []
    for (let i = 0; i < 5; i++) {
      const [a, b] = [replica('a'), replica('b')]
      const answer = search([route([healthy]), route([a, b])])
      healthy.pending.pop()!.answer()
      a.pending[0]!.fail()
      await vi.advanceTimersByTimeAsync(0)
      b.pending[0]?.answer()
      degraded.push((await answer).degraded)
    }
    expect(degraded).toEqual([[], [], [], ['shard-failed'], ['shard-failed']])
  })

  test('again and again is left out, and comes back by a trial', async () => {
    const [a, b] = [replica('a'), replica('b')]
    const search = fanoutOf()
    const ask = async (whenFirst: (pending: Search) => void): Promise<void> => {
      const answer = search([route([a, b])])
      a.pending.splice(0).forEach(whenFirst)
      await vi.advanceTimersByTimeAsync(0)
      for (const pending of b.pending.splice(0)) pending.answer()
      await answer
    }
    for (let i = 0; i < 5; i++) await ask(pending => pending.fail())
    expect([a.asked, b.asked]).toEqual([5, 5])
    for (let i = 0; i < 10; i++) await ask(pending => pending.fail())
    expect([a.asked, b.asked]).toEqual([5, 15])
    await vi.advanceTimersByTimeAsync(1_200)
    await ask(pending => pending.fail())
    expect([a.asked, b.asked]).toEqual([6, 16])
    await vi.advanceTimersByTimeAsync(1_200)
    await ask(pending => pending.answer())
    expect([a.asked, b.asked]).toEqual([6, 17])
    await vi.advanceTimersByTimeAsync(1_200)
    await ask(pending => pending.answer())
    await ask(pending => pending.answer())
    expect([a.asked, b.asked]).toEqual([8, 17])
  })

  test('and is alone is asked all the same', async () => {
    const a = replica('a')
    const search = fanoutOf()
    for (let i = 0; i < 20; i++) {
      const answer = search([route([a])])
      a.pending.pop()!.fail()
      await expect(answer).rejects.toMatchObject({ code: 'not-ready', details: { degraded: ['shard-failed'] } })
    }
    const answer = search([route([a])])
    a.pending.pop()!.answer()
    expect(await answer).toMatchObject(whole(1))
  })

  test('is not what a slow one is hedged with', async () => {
    const [a, b] = [replica('a'), replica('b')]
    const search = fanoutOf()
    await earn(search, 200)
    for (let i = 0; i < 5; i++) {
      const answer = search([route([a, b])])
      a.pending.pop()!.fail()
      await vi.advanceTimersByTimeAsync(0)
      b.pending.pop()!.answer()
      await answer
    }
    const answer = search([route([a, b])])
    await vi.advanceTimersByTimeAsync(500)
    expect([a.asked, b.asked]).toEqual([5, 6])
    b.pending[0]!.answer()
    expect(await answer).toMatchObject(whole(1))
  })

  test('by hanging is left out, though no search failed for it', async () => {
    const [a, b] = [replica('a'), replica('b')]
    const search = fanoutOf({ extra: { ratio: 1 } })
    await earn(search, 50)
    for (let i = 0; i < 40; i++) {
      const answer = search([route([a, b])])
      if (b.pending.length === 0) await vi.advanceTimersByTimeAsync(50)
      for (const pending of b.pending.splice(0)) pending.answer()
      expect(await answer).toMatchObject(whole(1))
    }
    expect([a.asked, b.asked]).toEqual([20, 40])
  })
})

test('load is spread: of two replicas the less busy one is asked', async () => {
  const [a, b] = [replica('a'), replica('b')]
  const search = fanoutOf()
  const answers = Array.from({ length: 10 }, () => search([route([a, b])]))
  expect([a.asked, b.asked]).toEqual([5, 5])
  for (const pending of [...a.pending, ...b.pending]) pending.answer()
  for (const answer of answers) expect(await answer).toMatchObject(whole(1))
})

test('one that is stale is asked when the fresher ones fail, and it is told', async () => {
  const [fresh, stale] = [replica('fresh'), replica('stale')]
  const answer = fanoutOf()([route([fresh], [stale])])
  expect([fresh.asked, stale.asked]).toEqual([1, 0])
  fresh.pending[0]!.fail()
  await vi.advanceTimersByTimeAsync(0)
  stale.pending[0]!.answer()
  expect(await answer).toMatchObject({ coverage: { answered: 1, total: 1 }, degraded: ['shard-not-ready'] })
})

test('a refusal by all is the answer', async () => {
  const replicas = [replica('a'), replica('b', 1)]
  const answer = fanoutOf()(replicas.map(each => route([each])))
  for (const { pending } of replicas) pending[0]!.fail(new FreshetError('vector-not-unit', 'not of unit length'))
  await expect(answer).rejects.toMatchObject({ code: 'vector-not-unit' })
})

test('candidates are many, results as many as asked for', async () => {
  const shards = [0, 1, 2, 3, 4].map(shard => replica(`r${shard}`, shard))
  const search = fanoutOf()
  const hitsOf = (shard: number, count: number) =>
    Array.from({ length: count }, (_, at) => hit(`${shard}-${at}`, 1 - (5 * at + shard) / 1_000))
  for (const [wanted, k, total] of [
    ['candidates', 100, 400],
    ['results', 2, 2],
  ] as const) {
    const answer = search(
      shards.map(each => route([each])),
      { wanted },
    )
    for (const [shard, { pending }] of shards.entries()) {
      const { asked, answer: give } = pending.pop()!
      expect(asked.k).toBe(k)
      give(hitsOf(shard, k))
    }
    const { hits } = await answer
    expect(hits).toHaveLength(total)
    expect(hits[1]?.hit.itemId).toBe('1-0')
  }
})

test('ties come by item id, however shards order them', async () => {
  const shards = [0, 1].map(shard => replica(`r${shard}`, shard))
  const answer = fanoutOf()(
    shards.map(each => route([each])),
    { request: { k: 6 } },
  )
  shards[0]!.pending[0]!.answer([hit('e', 0.7), hit('c', 0.5), hit('a', 0.5)])
  shards[1]!.pending[0]!.answer([hit('d', 0.5), hit('b', 0.5)])
  expect(idsOf(await answer)).toEqual(['e', 'a', 'b', 'c', 'd'])
})

test('a shard known to nobody is told', async () => {
  const a = replica('a')
  const answer = fanoutOf()([route([a]), { ...route([]), shard: 1 }])
  a.pending[0]!.answer()
  expect(await answer).toMatchObject({ coverage: { answered: 1, total: 2 }, degraded: ['shard-not-ready'] })
})
