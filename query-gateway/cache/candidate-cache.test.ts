import { createNoopMeter } from '@opentelemetry/api'
import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import type { ShardReplica, ShardSearchRequest } from '../../schemas/shard-api.ts'
import type { ShardRoute } from '../replica-roster.ts'
import type { FanoutAnswer } from '../shard-fanout.ts'
import { allPartitions, fingerprint, generation, hit } from '../testing/gateway-fixture.ts'
import { TableReplica } from '../testing/table-replica.ts'
import { CandidateCache, type CandidateQuestion } from './candidate-cache.ts'

const never = new AbortController().signal
const request: ShardSearchRequest = {
  generation: generation.generation,
  fingerprint,
  vector: Float32Array.of(1, 0, 0, 0),
  k: 3,
}

/** A shard whose content is a number that grows with each write. */
class CountedShard {
  writes = 0
  knows = true
  readonly replica: ShardReplica

  constructor(shard = 0) {
    this.replica = Object.assign(new TableReplica({ shard, partitions: allPartitions }), {
      content: () =>
        this.knows ? { writes: this.writes, watermarks: { [shard]: this.writes }, indexAgeMs: this.writes } : null,
    }) as unknown as ShardReplica
  }

  get route(): ShardRoute {
    const { shard } = this.replica
    return { shard, replicas: [this.replica], fresh: [this.replica], routable: [this.replica], behind: false }
  }
}

const answerAt = (writes: number, more: Partial<FanoutAnswer> = {}): FanoutAnswer => ({
  hits: [{ hit: hit(`at-${writes}`, 1), plan: 'graph', shard: 0, replica: 'r0' }],
  coverage: { answered: 1, total: 1 },
  degraded: [],
  indexAgeMs: 0,
  watermarks: {},
  explanations: [],
  ...more,
})
const seenIn = ({ hits }: FanoutAnswer): number => Number(hits[0]!.hit.itemId.slice('at-'.length))
const newCache = (maxBytes = 1e6) => new CandidateCache({ maxBytes, meter: createNoopMeter() })

let shard: CountedShard
let cache: CandidateCache
let asked = 0

beforeEach(() => {
  shard = new CountedShard()
  cache = newCache()
  asked = 0
})

const find = (more: Partial<CandidateQuestion> = {}, answer: Partial<FanoutAnswer> = {}, of = cache) =>
  of.find({ request, wanted: 'candidates', routes: [shard.route], limitMs: 1_000, ...more }, never, async () => {
    asked++
    return answerAt(shard.writes, answer)
  })

describe('an answer', () => {
  test('is kept while nothing is written, with the freshness of now', async () => {
    shard.writes = 5
    expect(await find()).toMatchObject({ known: false })
    const again = await find()
    expect(again).toMatchObject({ known: true, answer: { indexAgeMs: 5, watermarks: { 0: 5 } } })
    expect(asked).toBe(1)
    shard.writes++
    expect(seenIn((await find()).answer)).toBe(6)
    expect(asked).toBe(2)
  })

  test.each([
    ['vector', { request: { ...request, vector: Float32Array.of(0, 1, 0, 0) } }],
    ['k', { request: { ...request, k: 4 } }],
    ['filter', { request: { ...request, filter: { available: true } } }],
    ['generation', { request: { ...request, generation: 'g2' as never } }],
    ['model', { request: { ...request, fingerprint: 'cd'.repeat(32) as never } }],
    ['item left out', { request: { ...request, excludeItem: 'a' as never } }],
    ['number of candidates', { wanted: 'results' as const }],
  ])('is not that of another %s', async (_name, other) => {
    await find()
    expect(await find(other)).toMatchObject({ known: false })
    expect(await find()).toMatchObject({ known: true })
  })

  test('is that of another time limit too, since it is whole; a run is not', async () => {
    const runs = await Promise.all([find({ limitMs: 10 }), find({ limitMs: 1_000 })])
    expect(runs.map(({ known }) => known)).toEqual([false, false])
    expect(await find({ limitMs: 1 })).toMatchObject({ known: true })
  })

  test('is the same whatever the order of the fields of its filter', async () => {
    await find({ request: { ...request, filter: { available: true, category: ['a'] } } })
    expect(await find({ request: { ...request, filter: { category: ['a'], available: true } } })).toMatchObject({
      known: true,
    })
  })

  test.each([
    ['lacks a shard', { coverage: { answered: 1, total: 2 } }],
    ['is of a shard that is behind', { degraded: ['shard-not-ready' as const] }],
  ])('that %s is not kept', async (_name, partial) => {
    await find({}, partial)
    expect(await find()).toMatchObject({ known: false })
  })

  test('of a replica that was opened again is not that of the one before', async () => {
    await find()
    shard = new CountedShard()
    expect(await find()).toMatchObject({ known: false })
  })

  test('is not kept where a replica does not say what it holds, or a shard has none', async () => {
    shard.knows = false
    await find()
    expect(await find()).toMatchObject({ known: false })
    const empty: ShardRoute = { shard: 1, replicas: [], fresh: [], routable: [], behind: true }
    shard.knows = true
    const routes = [shard.route, empty]
    await find({ routes })
    expect(await find({ routes })).toMatchObject({ known: false })
  })

  test('is forgotten with its generation, and no other is', async () => {
    const other = { request: { ...request, generation: 'g2' as never } }
    await find()
    await find(other)
    cache.forget(generation.generation)
    expect(await find(other)).toMatchObject({ known: true })
    expect(await find()).toMatchObject({ known: false })
  })

  test('is not kept at all in a cache of no bytes, nor forever in a small one', async () => {
    const [none, small] = [newCache(0), newCache(4_000)]
    for (const each of [none, small]) await find({}, {}, each)
    expect(await find({}, {}, none)).toMatchObject({ known: false })
    expect(await find({}, {}, small)).toMatchObject({ known: true })
    for (let k = 10; k < 20; k++) await find({ request: { ...request, k } }, {}, small)
    expect(await find({}, {}, small)).toMatchObject({ known: false })
  })
})

/**
 * Questions, writes and the steps of searches in any order. A search sees the shard somewhere between its begin and its
 * end. Whoever asks must be answered with what was there when they asked, or later: what was deleted and acknowledged
 * before is in no answer.
 */
describe.each([
  ['say what they hold', true],
  ['do not say what they hold', false],
])('with replicas that %s', (_name, knows) => {
  test('no answer is of before its question, in whatever order things happen', async () => {
    const step = fc.oneof(
      fc.constant('write' as const),
      fc.constant('advance' as const),
      fc.constant('leave' as const),
      fc.constantFrom(1, 2),
    )
    await fc.assert(
      fc.asyncProperty(fc.scheduler(), fc.array(step, { maxLength: 30 }), async (scheduler, steps) => {
        const counted = new CountedShard()
        counted.knows = knows
        const fresh = newCache()
        const questions: Promise<void>[] = []
        const callers: AbortController[] = []
        for (const each of steps) {
          if (each === 'write') counted.writes++
          else if (each === 'leave') callers.shift()?.abort()
          else if (each === 'advance') await (scheduler.count() > 0 ? scheduler.waitOne() : Promise.resolve())
          else questions.push(question(fresh, counted, { k: each, scheduler, callers }))
        }
        await scheduler.waitFor(Promise.all(questions))
      }),
      { numRuns: knows ? 300 : 60 },
    )
  })
})

async function question(
  of: CandidateCache,
  counted: CountedShard,
  {
    k,
    scheduler,
    callers,
  }: { readonly k: number; readonly scheduler: fc.Scheduler; readonly callers: AbortController[] },
): Promise<void> {
  const before = counted.writes
  const caller = new AbortController()
  callers.push(caller)
  const ask = async (): Promise<FanoutAnswer> => {
    await scheduler.schedule(Promise.resolve(), 'search begins')
    const seen = counted.writes
    await scheduler.schedule(Promise.resolve(), 'search ends')
    return answerAt(seen)
  }
  const asking = { request: { ...request, k }, wanted: 'results' as const, routes: [counted.route], limitMs: 1_000 }
  try {
    const { answer } = await of.find(asking, caller.signal, ask)
    expect(seenIn(answer)).toBeGreaterThanOrEqual(before)
  } catch (thrown) {
    expect(thrown).toMatchObject({ code: 'timeout' })
    expect(caller.signal.aborted).toBe(true)
  }
}
