import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FreshetError } from '../schemas/errors.ts'
import { SearchAnswer } from '../schemas/http-search.ts'
import { engagementKey, storedEngagement, storedWeight } from '../schemas/item-engagement.ts'
import type { ItemSnapshot, ShardHit } from '../schemas/shard-api.ts'
import { expectShape } from './testing/expect-shape.ts'
import {
  allPartitions,
  type FixtureOptions,
  fingerprint,
  type GatewayFixture,
  hit,
  itemId,
  openGateway,
  picture,
  snapshot,
  unitVector,
  wholePicture,
} from './testing/gateway-fixture.ts'
import { TableReplica } from './testing/table-replica.ts'

const product = (id: string, similarity: number, item: Partial<ItemSnapshot> = {}): ShardHit => ({
  ...hit(id, similarity),
  item: snapshot(id, item),
})

let gateway: GatewayFixture

async function open(hits: readonly ShardHit[], options: FixtureOptions = {}): Promise<void> {
  gateway = await openGateway(options)
  gateway.replica.hits = hits
}

async function search(query: object = {}) {
  const payload = { vector: [...unitVector], fingerprint, ...query }
  const response = await gateway.app.inject({ method: 'POST', url: '/v1/search', payload })
  expect(response.statusCode, response.body).toBe(200)
  const answer = response.json()
  expectShape(SearchAnswer, answer)
  return answer
}

const ids = (answer: SearchAnswer) => answer.results.map(result => result.itemId)

afterEach(() => gateway.close())

describe('a ranking', () => {
  const hits = [product('gone', 0.9, { available: false }), product('there', 0.895), product('far', 0.8)]

  test('puts the available first among those that look alike, and says by what weights', async () => {
    await open(hits)
    const answer = await search()
    expect(ids(answer)).toEqual(['there', 'gone', 'far'])
    expect(answer.rankedBy).toEqual({ weights: 'v1', digest: expect.stringMatching(/^[0-9a-f]{64}$/), bound: 0.05 })
    expect(answer.degraded).toEqual([])
  })

  test('is left out on request: the order is that of similarity, and only k are asked for', async () => {
    await open(hits)
    const answer = await search({ rerank: false, k: 2 })
    expect(ids(answer)).toEqual(['gone', 'there'])
    expect(answer.results.map(({ score }) => score)).toEqual([0.9, 0.895])
    expect(answer).not.toHaveProperty('rankedBy')
    expect(gateway.replica.searches[0]).toMatchObject({ k: 2 })
  })

  test('brings up candidates from beyond k', async () => {
    const many = Array.from({ length: 60 }, (_, n) => product(`i${n}`, 0.9 - n / 10_000, { available: n > 50 }))
    await open(many)
    expect(ids(await search({ k: 3 }))).toEqual(['i51', 'i52', 'i53'])
  })

  test('follows preferences, which exclude nobody', async () => {
    const wished = product('wished', 0.89, { regions: ['fr'], price: 100, category: 'rug' })
    await open([product('first', 0.9), wished])
    expect(ids(await search({}))).toEqual(['first', 'wished'])
    expect(ids(await search({ prefer: { region: 'fr', priceAround: 100, category: 'rug' } }))).toEqual([
      'wished',
      'first',
    ])
    expect(gateway.replica.searches.every(({ filter }) => filter === undefined)).toBe(true)
  })

  test('by item prefers what has its category and price', async () => {
    const like = snapshot('query', { category: 'rug', price: 500 })
    await open([product('lamp', 0.9), product('rug', 0.89, { category: 'rug', price: 480 })])
    const objectList = [{ box: wholePicture, label: '', score: 1, image: 0 }]
    gateway.replica.set(itemId('query'), { attributes: 4, objects: 4, searchable: true, snapshot: like, objectList })
    gateway.replica.setVector(itemId('query'), 0, unitVector)
    const payload = { image: { itemId: 'query' }, excludeItemId: 'query' }
    const response = await gateway.app.inject({ method: 'POST', url: '/v1/search', payload })
    expect(ids(response.json())).toEqual(['rug', 'lamp'])
  })

  test('tells its parts, which add up', async () => {
    await open(hits)
    const [first] = (await search({ explain: true, prefer: { region: 'de' } })).results
    const ranking = first!.explain!.ranking!
    expect(ranking.map(({ part }) => part)).toEqual([
      'similarity',
      'availability',
      'region',
      'price',
      'category',
      'clickRate',
      'saveRate',
      'relevance',
    ])
    expect(ranking.reduce((sum, { contribution }) => sum + contribution, 0)).toBeCloseTo(first!.score, 12)
    for (const { value, weight, contribution } of ranking) expect(contribution).toBeCloseTo(value * weight, 12)
  })
})

describe('engagement', () => {
  const hits = [product('a', 0.9), product('b', 0.9)]
  const stored = (clicks: number) =>
    storedEngagement({ looks: 100, clicks, saves: 0, rejections: 0 }).map(each => each * storedWeight(Date.now()))

  test('is read for all candidates at once, and counts', async () => {
    const reads: (readonly string[])[] = []
    const readSums = async (keys: readonly string[]) => {
      reads.push(keys)
      return keys.map(key => (key === engagementKey('b') ? stored(80) : stored(0)))
    }
    await open(hits, { ports: { features: { readSums } } })
    expect(ids(await search())).toEqual(['b', 'a'])
    expect(reads).toEqual([[engagementKey('a'), engagementKey('b')]])
  })

  test.each([
    ['fails', () => Promise.reject(new FreshetError('feature-store-unavailable', 'away'))],
    ['hangs', () => new Promise<never>(() => undefined)],
  ])('a store that %s is done without, which is told, and it is left alone for a while', async (_name, readSums) => {
    let reads = 0
    const counted = () => {
      reads++
      return readSums()
    }
    await open(hits, { ports: { features: { readSums: counted } }, options: { featuresTimeoutMs: 20 } })
    for (const answer of [await search(), await search()]) {
      expect(ids(answer)).toEqual(['a', 'b'])
      expect(answer.degraded).toEqual(['features-unavailable'])
    }
    expect(reads).toBe(1)
    expect((await search({ rerank: false })).degraded).toEqual([])
  })
})

describe('near-identical products', () => {
  const red = { title: 'Chair Oslo' }
  const hits = [product('a', 0.9, red), product('b', 0.899, red), product('d', 0.898, red), product('c', 0.7)]

  test('are shown once, with how many are left out', async () => {
    await open(hits)
    const answer = await search()
    expect(ids(answer)).toEqual(['a', 'c'])
    expect(answer.results[0]!.alike).toEqual({ count: 2, itemIds: ['b', 'd'] })
    expect(answer.results[1]).not.toHaveProperty('alike')
  })

  test.each([
    ['not collapsed', { collapse: false }, ['a', 'b', 'd', 'c']],
    ['not ranked', { rerank: false }, ['a', 'b', 'd', 'c']],
    ['collapsed, not ranked', { rerank: false, collapse: true }, ['a', 'c']],
  ])('%s', async (_name, query, expected) => {
    await open(hits)
    expect(ids(await search(query))).toEqual(expected)
  })
})

describe('facets', () => {
  const hits = Array.from({ length: 90 }, (_, n) => product(`i${n}`, 0.9, { category: n < 60 ? 'lamp' : 'rug' }))

  test.each([{}, { rerank: false }])('count all candidates, not only the results %j', async query => {
    await open(hits)
    const answer = await search({ facets: true, k: 5, ...query })
    expect(answer.results).toHaveLength(5)
    expect(answer.facets).toMatchObject({ of: 90, region: [{ value: 'de', count: 90 }] })
    expect(answer.facets!.category).toEqual([
      { value: 'lamp', count: 60 },
      { value: 'rug', count: 30 },
    ])
    expect(await search({ k: 5 })).not.toHaveProperty('facets')
  })
})

describe('what is known already', () => {
  let replica: TableReplica
  let writes: number

  beforeEach(async () => {
    writes = 0
    replica = new TableReplica({ partitions: allPartitions })
    Object.assign(replica, { content: () => ({ writes, watermarks: { 0: 7 }, indexAgeMs: 3 }) })
    await open([], { replicas: [replica] })
    replica.hits = [product('a', 0.9), product('b', 0.8)]
  })

  test('is used while nothing is written; what was deleted is gone with the write', async () => {
    expect((await search()).cached).toEqual({ picture: false, candidates: false })
    expect(await search()).toMatchObject({ cached: { candidates: true }, freshness: { indexAgeMs: 3 } })
    expect(replica.searches).toHaveLength(1)
    replica.hits = replica.hits.slice(1)
    writes++
    const answer = await search()
    expect(ids(answer)).toEqual(['b'])
    expect(answer.cached?.candidates).toBe(false)
  })

  test('serves other rankings of the same candidates', async () => {
    await search()
    const other = await search({ k: 24, prefer: { region: 'fr' }, facets: true, collapse: false })
    expect(other.cached?.candidates).toBe(true)
    expect(other.facets?.of).toBe(2)
  })

  test('of a picture is used by searches and detections, each for what was asked', async () => {
    const image = { base64: picture.toString('base64') }
    const post = async (url: string, payload: object) =>
      (await gateway.app.inject({ method: 'POST', url, payload })).json()
    expect((await post('/v1/search', { image })).cached.picture).toBe(false)
    expect((await post('/v1/search', { image })).cached.picture).toBe(true)
    expect((await post('/v1/search', { image })).timingMs).toMatchObject({ decode: 0, detect: 0, embed: 0 })
    for (const _ of [1, 2]) await post('/v1/detect', { image })
    expect(gateway.model.asked.map(({ selection }) => selection)).toEqual(['salient', 'none'])
  })
})
