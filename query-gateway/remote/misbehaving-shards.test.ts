import { createServer } from 'node:http'
import fc from 'fast-check'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { asOffset, asShardId, type Generation, type ReplicaId } from '../../schemas/ids.ts'
import type { ShardHit } from '../../schemas/shard-api.ts'
import { answerFrame } from '../../schemas/shard-frames.ts'
import { replicaTag } from '../../schemas/shard-wire.ts'
import { searchResultWire } from '../../schemas/shard-wire-hits.ts'
import { defaultFanoutOptions } from '../fanout/fanout-options.ts'
import { allPartitions, fingerprint, generation, hit, openGateway, unitVector } from '../testing/gateway-fixture.ts'
import { type AskedSearch, SearchedProcess } from '../testing/searched-process.ts'
import { RemoteReplica } from './remote-replica.ts'

/** How a replica's process answers a search. */
type Conduct =
  | 'well'
  | 'garbage'
  | 'unreadable row'
  | 'unreadable rest'
  | 'nothing'
  | 'hang up'
  | 'no frame'
  | 'another call'
  | 'too much'
  | 'too many'
  | 'disorder'
  | 'foreign partitions'
  | 'late'
  | 'twice'
  | 'another generation'
  | 'error'
  | 'refused'

/** Patient: the machine may be busy, and a good replica is not to be late. */
const shardTimeoutMs = 3_000
const shards = 2
const settings = { maxAnswerBytes: 20_000, graceMs: 0, searchTimeoutMs: 5_000, lookupTimeoutMs: 200 }

class Misbehaving {
  conduct: Conduct = 'well'
  readonly shard: number
  readonly name: string
  #process: SearchedProcess | null = null
  readonly #hits: readonly ShardHit[]

  constructor(shard: number, name: string) {
    this.shard = shard
    this.name = name
    this.#hits = [hit(`best of ${shard}`, 0.9 - shard / 10), hit(`next of ${shard}`, 0.5 - shard / 10)]
  }

  /** How it is cannot be asked, so it is what it reported, until the gateway notices. */
  async listen(): Promise<void> {
    this.#process = await SearchedProcess.listen(
      asked => this.#answer(asked),
      createServer(() => undefined),
    )
  }

  async stop(): Promise<void> {
    await this.#process?.stop()
  }

  get #identity() {
    return {
      shard: asShardId(this.shard),
      replica: this.name as ReplicaId,
      generation: 'g1' as Generation,
      partitions: allPartitions.filter(partition => partition % shards === this.shard),
    }
  }

  /** As a gateway that has just started knows it. */
  asRemote(): RemoteReplica {
    const reported = { state: 'ready', indexAgeMs: 0 } as const
    return new RemoteReplica({ ...this.#identity, address: this.#process!.address, reported }, settings)
  }

  #answer(asked: AskedSearch): void {
    const tag = replicaTag({
      ...this.#identity,
      ...(this.conduct === 'another generation' ? { generation: 'g0' as Generation } : {}),
    })
    const text = this.#text()
    switch (this.conduct) {
      case 'late':
        return
      case 'hang up':
        asked.stream.destroy()
        return
      case 'no frame':
        asked.send(text)
        return
      case 'error':
        asked.answer(tag, '{"error":{"code":"internal","message":"oh","retryable":true}}', 500)
        return
      case 'refused':
        asked.answer(tag, '{"error":{"code":"fingerprint-mismatch","message":"another model","retryable":false}}', 422)
        return
      case 'twice':
        asked.answer(tag, text)
        asked.answer(tag, text)
        return
      case 'another call':
        asked.send(answerFrame({ call: asked.call + 1_000, status: 200, tag }, text))
        return
      default:
        asked.answer(tag, text)
    }
  }

  #text(): string {
    const offset = asOffset(7)
    const { partitions } = this.#identity
    const watermarks = Object.fromEntries(partitions.map(partition => [String(partition), offset]))
    const result = { hits: this.#hits, watermarks, indexAgeMs: 0, plan: 'graph' } as const
    switch (this.conduct) {
      case 'garbage':
        return '{"hits":[{"itemId":"best of '
      case 'unreadable row':
        return withLines(searchResultWire.encode(result), { 1: '[0,null]' })
      case 'unreadable rest':
        return withLines(searchResultWire.encode(result), { 2: '[{"]]' })
      case 'nothing':
        return ''
      case 'too much':
        return ' '.repeat(settings.maxAnswerBytes + 1)
      case 'too many':
        return searchResultWire.encode({ ...result, hits: Array(30).fill(this.#hits[0]) })
      case 'disorder':
        return searchResultWire.encode({ ...result, hits: [...this.#hits].reverse() })
      case 'foreign partitions':
        return searchResultWire.encode({ ...result, watermarks: { 77: offset } })
      default:
        return searchResultWire.encode(result)
    }
  }
}

/** Each hit has two, after the first one. */
function withLines(text: string, others: Readonly<Record<number, string>>): string {
  return text
    .split('\n')
    .map((line, at) => others[at] ?? line)
    .join('\n')
}

const servers = [new Misbehaving(0, 'a'), new Misbehaving(0, 'b'), new Misbehaving(1, 'a'), new Misbehaving(1, 'b')]

beforeAll(() => Promise.all(servers.map(server => server.listen())))
afterAll(() => Promise.all(servers.map(server => server.stop())))

/** What a gateway that has just started answers while its shards behave so. */
async function answerTo(conducts: readonly Conduct[], ask: object = {}) {
  servers.forEach((server, at) => {
    server.conduct = conducts[at]!
  })
  const replicas = servers.map(server => server.asRemote())
  const hedge = { ...defaultFanoutOptions.hedge, initialMs: 20 }
  const extra = { ratio: 1, burst: 100, reserve: 50 }
  const gateway = await openGateway({
    ports: { routing: () => [{ ...generation, shards }], replicas: () => replicas },
    options: { fanout: { ...defaultFanoutOptions, shardTimeoutMs, hedge, extra } },
  })
  try {
    const payload = { vector: [...unitVector], fingerprint, k: 3, rerank: false, ...ask }
    return await gateway.app.inject({ method: 'POST', url: '/v1/search', payload })
  } finally {
    await gateway.close()
    await Promise.all(replicas.map(replica => replica.close()))
  }
}

const answering: ReadonlySet<Conduct> = new Set(['well', 'twice'])
const anyConduct = fc.constantFrom<Conduct>(
  'well',
  'garbage',
  'nothing',
  'hang up',
  'no frame',
  'another call',
  'too much',
  'too many',
  'disorder',
  'foreign partitions',
  'late',
  'twice',
  'another generation',
  'error',
  'refused',
)

test('however replicas misbehave: a shard with a good one answers, what is missing is told, and all gone is 503', async () => {
  const conducts = fc.array(anyConduct, { minLength: 4, maxLength: 4 })
  await fc.assert(
    fc.asyncProperty(conducts, async given => {
      const answered = [0, 1].filter(shard => given.slice(2 * shard, 2 * shard + 2).some(each => answering.has(each)))
      const response = await answerTo(given)
      const body = response.json()
      if (answered.length === 0) {
        expect(statusesOf(given)).toContain(response.statusCode)
        if (response.statusCode === 503)
          expect(body.error).toMatchObject({ code: 'not-ready', details: { coverage: { answered: 0, total: 2 } } })
        return
      }
      expect(response.statusCode).toBe(200)
      expect(body.coverage).toEqual({ answered: answered.length, total: 2 })
      expect(body.degraded.length > 0).toBe(answered.length < 2)
      const best = answered.flatMap(shard => [`best of ${shard}`, `next of ${shard}`])
      expect(new Set(body.results.map((result: { readonly itemId: string }) => result.itemId))).toEqual(
        new Set(answered.length === 2 ? ['best of 0', 'best of 1', 'next of 0'] : best),
      )
    }),
    { numRuns: 25 },
  )
}, 120_000)

/**
 * Of an answer of none: what all that were asked last refuse is wrong itself, and which one that is where the others of
 * a shard fail otherwise is left to the draw.
 */
function statusesOf(conducts: readonly Conduct[]): readonly number[] {
  const refused = conducts.map(each => each === 'refused')
  if (refused.every(each => each)) return [422]
  return (refused[0] || refused[1]) && (refused[2] || refused[3]) ? [422, 503] : [503]
}

test.each<[Conduct, string]>([
  ['late', 'shard-timeout'],
  ['garbage', 'shard-failed'],
  ['unreadable row', 'shard-failed'],
  ['unreadable rest', 'shard-failed'],
  ['another generation', 'shard-failed'],
  ['refused', 'shard-failed'],
  ['hang up', 'shard-failed'],
])('all replicas of a shard that %s: the rest answers, and it is told as %s', async (conduct, code) => {
  const body = (await answerTo(['well', 'well', conduct, conduct])).json()
  expect(body).toMatchObject({ coverage: { answered: 1, total: 2 }, degraded: [code] })
  expect(body.results).toHaveLength(2)
  const ranked = (await answerTo(['well', 'well', conduct, conduct], { rerank: true, facets: true })).json()
  expect(ranked).toMatchObject({ coverage: { answered: 1, total: 2 }, degraded: [code] })
  expect(ranked.results).toHaveLength(2)
})

test('no shard tells what can be read: 503', async () => {
  expect((await answerTo(Array(4).fill('unreadable row'))).statusCode).toBe(503)
})

test('all replicas gone: 503 that may be retried, with the reasons', async () => {
  const response = await answerTo(['hang up', 'hang up', 'late', 'late'])
  expect(response.statusCode).toBe(503)
  expect(response.headers['retry-after']).toBe('1')
  expect(response.json().error).toMatchObject({
    code: 'not-ready',
    retryable: true,
    details: { degraded: ['shard-failed', 'shard-timeout'], coverage: { answered: 0, total: 2 } },
  })
})
