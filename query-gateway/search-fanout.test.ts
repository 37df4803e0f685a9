import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { FreshetError } from '../schemas/errors.ts'
import { SearchAnswer } from '../schemas/http-search.ts'
import type { Generation } from '../schemas/ids.ts'
import { defaultFanoutOptions } from './fanout/fanout-options.ts'
import { expectShape } from './testing/expect-shape.ts'
import {
  allPartitions,
  fingerprint,
  type GatewayFixture,
  generation,
  hit,
  openGateway,
  picture,
  unitVector,
} from './testing/gateway-fixture.ts'
import { TableReplica } from './testing/table-replica.ts'

const upload = { base64: picture.toString('base64') }

function search(payload: object, of: GatewayFixture) {
  return of.app.inject({ method: 'POST', url: '/v1/search', payload })
}

describe('shards', () => {
  const [even, odd] = [allPartitions.filter(p => p % 2 === 0), allPartitions.filter(p => p % 2 === 1)]
  const twoShards = { routing: () => [{ ...generation, shards: 2 }] }
  const options = { fanout: { ...defaultFanoutOptions, shardTimeoutMs: 50 } }
  let first: TableReplica
  let second: TableReplica
  let both: GatewayFixture

  beforeEach(async () => {
    first = new TableReplica({ shard: 0, partitions: even })
    second = new TableReplica({ shard: 1, partitions: odd })
    first.hits = [hit('a', 0.9), hit('b', 0.5)]
    second.hits = [hit('c', 0.7), hit('d', 0.5)]
    both = await openGateway({ replicas: [first, second], ports: twoShards, options })
  })

  afterEach(() => both.close())

  const answerOf = async (payload: object) => {
    const answer = (await search(payload, both)).json()
    expectShape(SearchAnswer, answer)
    return answer
  }

  test('are merged by similarity, ties by id', async () => {
    const answer = await answerOf({ image: upload, k: 3 })
    expect(answer.results.map(result => result.itemId)).toEqual(['a', 'c', 'b'])
    expect(answer.coverage).toEqual({ answered: 2, total: 2 })
    expect(answer.freshness.watermarks).toEqual({ 0: '7', 1: '7', 2: '7', 3: '7' })
  })

  test.each([
    ['is late', 'hang', 'shard-timeout'],
    ['fails', new FreshetError('storage-failed', 'disk'), 'shard-failed'],
    ['is not ready', new FreshetError('not-ready', 'starting'), 'shard-not-ready'],
  ] as const)('one that %s is told, the rest is answered', async (_name, trouble, degraded) => {
    second.trouble = trouble
    const answer = await answerOf({ image: upload })
    expect(answer.results.map(result => result.itemId)).toEqual(['a', 'b'])
    expect(answer.coverage).toEqual({ answered: 1, total: 2 })
    expect(answer.degraded).toEqual([degraded])
  })

  test('one without a replica is told', async () => {
    const alone = await openGateway({ replicas: [first], ports: twoShards })
    const answer = (await search({ image: upload }, alone)).json()
    expect(answer).toMatchObject({ coverage: { answered: 1, total: 2 }, degraded: ['shard-not-ready'] })
    await alone.close()
  })

  test('when none answers it is 503 and may be retried', async () => {
    first.trouble = 'hang'
    second.trouble = new FreshetError('not-ready', 'starting')
    const response = await search({ image: upload }, both)
    expect(response.statusCode).toBe(503)
    expect(response.headers['retry-after']).toBe('1')
    expect(response.json().error).toMatchObject({
      code: 'not-ready',
      retryable: true,
      details: { degraded: ['shard-timeout', 'shard-not-ready'], coverage: { answered: 0, total: 2 } },
    })
  })

  test('that are behind answer, and it is told', async () => {
    first.state = 'catching-up'
    await search({ image: upload }, both)
    const answer = await vi.waitUntil(async () => {
      const latest = await answerOf({ image: upload })
      return latest.degraded.length > 0 && latest
    })
    expect(answer).toMatchObject({ coverage: { answered: 2, total: 2 }, degraded: ['shard-not-ready'] })
  })

  test('have replicas: the ready one is asked, another when it fails', async () => {
    const spare = new TableReplica({ shard: 0, replica: 'spare', partitions: allPartitions })
    const main = new TableReplica({ shard: 0, replica: 'main', partitions: allPartitions })
    spare.state = 'catching-up'
    main.hits = [hit('main', 0.9)]
    spare.hits = [hit('spare', 0.8)]
    const replicated = await openGateway({ replicas: [spare, main] })
    await search({ image: upload }, replicated)
    await vi.waitUntil(async () => (await search({ image: upload }, replicated)).json().results[0].itemId === 'main')
    main.trouble = new FreshetError('storage-failed', 'disk')
    const answer = (await search({ image: upload }, replicated)).json()
    expect(answer.results[0].itemId).toBe('spare')
    expect(answer.coverage).toEqual({ answered: 1, total: 1 })
    await replicated.close()
  })
})

describe('generations', () => {
  const routing = () => [
    { ...generation, share: 0.5 },
    { ...generation, generation: 'g2' as Generation, model: 'v2', share: 0.5 },
  ]

  test('share the sessions, and a session stays', async () => {
    const replicas = ['g1', 'g2'].map(name => new TableReplica({ generation: name, partitions: allPartitions }))
    const shared = await openGateway({ replicas, ports: { routing } })
    const generationOf = async (session: string) =>
      (await search({ vector: [...unitVector], fingerprint, session }, shared)).json().generation
    const sessions = Array.from({ length: 40 }, (_, i) => `session-${i}`)
    const drawn = await Promise.all(sessions.map(generationOf))
    expect(new Set(drawn)).toEqual(new Set(['g1', 'g2']))
    expect(await Promise.all(sessions.map(generationOf))).toEqual(drawn)
    await shared.close()
  })

  test('without a share answer when named only', async () => {
    const idle = await openGateway({ ports: { routing: () => [{ ...generation, share: 0 }] } })
    expect((await search({ image: upload }, idle)).json().error.code).toBe('not-ready')
    expect((await search({ image: upload, generation: 'g1' }, idle)).statusCode).toBe(200)
    await idle.close()
  })
})
