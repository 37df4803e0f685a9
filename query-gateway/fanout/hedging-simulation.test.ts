import { createNoopMeter } from '@opentelemetry/api'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { asShardId, type Generation } from '../../schemas/ids.ts'
import type { ShardSearchRequest, ShardSearchResult } from '../../schemas/shard-api.ts'
import type { ShardRoute } from '../replica-roster.ts'
import { ShardFanout } from '../shard-fanout.ts'
import { allPartitions, fingerprint, hit, unitVector } from '../testing/gateway-fixture.ts'
import { TableReplica } from '../testing/table-replica.ts'
import { defaultFanoutOptions, type FanoutOptions } from './fanout-options.ts'

const shards = 4
const clients = 8
const queries = 3_000
const request: ShardSearchRequest = { generation: 'g1' as Generation, fingerprint, vector: unitVector, k: 2 }

/** Numbers in [0, 1): xorshift32. */
function drawnFrom(seed: number): () => number {
  let state = seed
  return () => {
    state ^= state << 13
    state ^= state >>> 17
    state ^= state << 5
    return (state >>> 0) / 2 ** 32
  }
}

/** Answers after a time that is drawn; one that is not waited for any longer is not counted as working. */
class SimulatedReplica extends TableReplica {
  latencyMs: () => number = () => 1
  asked = 0

  override search(_request: ShardSearchRequest, signal?: AbortSignal): Promise<ShardSearchResult> {
    this.asked++
    const answer = { hits: [hit(this.replica, 0.5)], watermarks: {}, indexAgeMs: 0, plan: 'graph' } as const
    return new Promise((resolve, reject) => {
      const timer = setTimeout(() => resolve(answer), this.latencyMs())
      signal?.addEventListener('abort', () => {
        clearTimeout(timer)
        reject(signal.reason)
      })
    })
  }
}

interface Outcome {
  readonly p50: number
  readonly p99: number
  /** Requests beyond one per shard and query, as a share of those. */
  readonly extra: number
  readonly degraded: number
}

beforeEach(() => {
  vi.useFakeTimers({ toFake: ['setTimeout', 'clearTimeout', 'performance'] })
})
afterEach(() => {
  vi.useRealTimers()
})

/** All clients ask one query after another, in time that is not the machine's. */
async function simulate(
  changes: Partial<FanoutOptions>,
  latencyOf: (random: () => number, replica: number) => number,
): Promise<Outcome> {
  const random = drawnFrom(7)
  const replicas = Array.from({ length: 2 * shards }, (_, at) => {
    const made = new SimulatedReplica({ shard: at % shards, replica: `r${at}`, partitions: allPartitions })
    made.latencyMs = () => latencyOf(random, at)
    return made
  })
  const routes = Array.from({ length: shards }, (_, shard): ShardRoute => {
    const of = replicas.filter(each => each.shard === asShardId(shard))
    return { shard, replicas: of, fresh: of, routable: of, behind: false }
  })
  const options = { ...defaultFanoutOptions, ...changes }
  const fanout = new ShardFanout({ options, meter: createNoopMeter(), replicas: () => replicas, random })
  const times: number[] = []
  let begun = 0
  let degraded = 0
  const client = async (): Promise<void> => {
    while (begun < queries) {
      begun++
      const startedAt = performance.now()
      const answer = await fanout.search(routes, request, { signal: new AbortController().signal, wanted: 'results' })
      if (answer.degraded.length > 0) degraded++
      times.push(performance.now() - startedAt)
    }
  }
  const all = Promise.all(Array.from({ length: clients }, client))
  while (times.length < queries) await vi.advanceTimersByTimeAsync(5)
  await all
  times.sort((a, b) => a - b)
  const asked = replicas.reduce((sum, replica) => sum + replica.asked, 0)
  const at = (share: number): number => times[Math.ceil(share * queries) - 1]!
  return { p50: at(0.5), p99: at(0.99), extra: asked / (shards * queries) - 1, degraded }
}

const none = { ratio: 0, burst: 0, reserve: 0 }
/** Two milliseconds mostly, ten at times. */
const usual = (random: () => number): number => 1 + Math.round(1 + 8 * random() ** 6)

test('one answer in a hundred late by 200 ms: a fraction of the time for a few requests more', async () => {
  const latency = (random: () => number): number => usual(random) + (random() < 0.01 ? 200 : 0)
  const without = await simulate({ extra: none }, latency)
  const hedged = await simulate({}, latency)
  expect(without.p99).toBeGreaterThan(200)
  expect(hedged.p99 / without.p99).toBeLessThan(0.3)
  expect(hedged.extra).toBeLessThan(0.06)
  expect(hedged.p50).toBeLessThanOrEqual(without.p50)
})

test('all replicas slow at once: the extra load stays within its budget', async () => {
  const slow = await simulate({}, random => 20 + Math.round(300 * random()))
  expect(slow.extra).toBeLessThan(0.06)
  expect(slow.degraded).toBe(0)
})

test('one replica that hangs from the start: hardly a query waits for it, and none goes without its shard', async () => {
  const hanging = (random: () => number, replica: number): number => (replica === 0 ? 1_000_000 : usual(random))
  const hung = await simulate({}, hanging)
  expect(hung.p99).toBeLessThan(100)
  expect(hung.degraded / queries).toBeLessThan(0.005)
  expect(hung.extra).toBeLessThan(0.06)
})
