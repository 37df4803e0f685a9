import { type Attributes, createNoopMeter, type Meter, type ObservableResult } from '@opentelemetry/api'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import type { Generation } from '../../schemas/ids.ts'
import type { ShardSearchRequest, ShardSearchResult } from '../../schemas/shard-api.ts'
import { ShardFanout } from '../shard-fanout.ts'
import { allPartitions, fingerprint, hit, unitVector } from '../testing/gateway-fixture.ts'
import { TableReplica } from '../testing/table-replica.ts'
import { defaultFanoutOptions } from './fanout-options.ts'

const request: ShardSearchRequest = { generation: 'g1' as Generation, fingerprint, vector: unitVector, k: 2 }

/** Keeps what it is told, by name and attributes; gauges are read when asked. */
class KeptMeter {
  readonly counts = new Map<string, number>()
  readonly #gauges = new Map<string, (result: ObservableResult) => void>()
  readonly meter: Meter = Object.assign(createNoopMeter(), {
    createCounter: (name: string) => ({ add: (by: number, of?: Attributes) => this.#add(name, by, of) }),
    createHistogram: (name: string) => ({ record: (_value: number, of?: Attributes) => this.#add(name, 1, of) }),
    createObservableGauge: (name: string) => ({
      addCallback: (callback: (result: ObservableResult) => void) => this.#gauges.set(name, callback),
    }),
  }) as unknown as Meter

  gauge(name: string): readonly (readonly [number, Attributes | undefined])[] {
    const seen: (readonly [number, Attributes | undefined])[] = []
    this.#gauges.get(name)?.({
      observe: (value: number, of?: Attributes) => seen.push([value, of]),
    } as ObservableResult)
    return seen
  }

  #add(name: string, by: number, of: Attributes = {}): void {
    const key = `${name} ${Object.values(of).join(' ')}`.trim()
    this.counts.set(key, (this.counts.get(key) ?? 0) + by)
  }
}

/** Answers after a while, or fails at once. */
class TimedReplica extends TableReplica {
  afterMs = 1
  fails = false

  override async search(_request: ShardSearchRequest, signal?: AbortSignal): Promise<ShardSearchResult> {
    if (this.fails) throw new FreshetError('replica-unavailable', 'away')
    return new Promise((resolve, reject) => {
      const answer = { hits: [hit('lamp', 0.5)], watermarks: {}, indexAgeMs: 0, plan: 'graph' } as const
      const timer = setTimeout(() => resolve(answer), this.afterMs)
      signal?.addEventListener('abort', () => {
        clearTimeout(timer)
        reject(signal.reason)
      })
    })
  }
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

test('hedges, retries, the budget, breakers and every request are told', async () => {
  const kept = new KeptMeter()
  const [a, b] = ['a', 'b'].map(name => new TimedReplica({ replica: name, partitions: allPartitions }))
  const replicas = [a!, b!]
  const options = { ...defaultFanoutOptions, extra: { ratio: 1, burst: 60, reserve: 2 } }
  const fanout = new ShardFanout({ options, meter: kept.meter, replicas: () => replicas, random: () => 0.999 })
  const route = { shard: 0, replicas, fresh: replicas, routable: replicas, behind: false }
  const search = async () => {
    const answer = fanout.search([route], request, { signal: new AbortController().signal, wanted: 'results' })
    await vi.advanceTimersByTimeAsync(200)
    return answer
  }

  await search()
  a!.afterMs = 100
  await search()
  a!.fails = true
  for (let i = 0; i < 5; i++) await search()
  expect(Object.fromEntries(kept.counts)).toEqual({
    'freshet.search.shard.duration 0 first answered': 1,
    'freshet.search.shard.duration 0 first overtaken': 1,
    'freshet.search.shard.duration 0 hedge answered': 1,
    'freshet.search.shard.duration 0 first failed': 5,
    'freshet.search.shard.duration 0 retry answered': 5,
    'freshet.search.hedges sent': 1,
    'freshet.search.hedges won': 1,
    'freshet.search.retries sent': 5,
  })
  // Two to begin with, seven earned, six spent.
  expect(kept.gauge('freshet.search.extra_budget')).toEqual([[3, undefined]])
  const of = (replica: string): Attributes => ({ generation: 'g1', shard: 0, replica })
  expect(kept.gauge('freshet.search.replica.breaker')).toEqual([
    [2, of('a')],
    [0, of('b')],
  ])
  expect(kept.gauge('freshet.search.replica.in_flight')).toEqual([
    [0, of('a')],
    [0, of('b')],
  ])
  await vi.advanceTimersByTimeAsync(2_000)
  expect(kept.gauge('freshet.search.replica.breaker')[0]).toEqual([1, of('a')])
})

test('what the budget does not allow is told as denied', async () => {
  const kept = new KeptMeter()
  const replicas = ['a', 'b'].map(name => new TimedReplica({ replica: name, partitions: allPartitions }))
  const options = { ...defaultFanoutOptions, extra: { ratio: 0, burst: 0, reserve: 0 } }
  const fanout = new ShardFanout({ options, meter: kept.meter, replicas: () => replicas, random: () => 0.999 })
  const route = { shard: 0, replicas, fresh: replicas, routable: replicas, behind: false }
  const call = { signal: new AbortController().signal, wanted: 'results' } as const
  for (const replica of replicas) replica.afterMs = 600
  const slow = fanout.search([route], request, call)
  await vi.advanceTimersByTimeAsync(1_000)
  await slow
  for (const replica of replicas) replica.fails = true
  await expect(fanout.search([route], request, call)).rejects.toMatchObject({ code: 'not-ready' })
  expect(kept.counts.get('freshet.search.hedges denied')).toBe(1)
  expect(kept.counts.get('freshet.search.retries denied')).toBe(1)
})
