import fc from 'fast-check'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import type { SearchAnswer } from '../schemas/http-search.ts'
import type { Fingerprint, Generation } from '../schemas/ids.ts'
import type { ImageModel } from '../schemas/image-analysis.ts'
import type { RoutedGeneration } from './ports.ts'
import {
  allPartitions,
  fingerprint,
  type GatewayFixture,
  generation,
  hit,
  itemId,
  openGateway,
  picture,
  QuarterModel,
  snapshot,
  unitVector,
  wholePicture,
} from './testing/gateway-fixture.ts'
import { TableReplica } from './testing/table-replica.ts'

const otherFingerprint = 'cd'.repeat(32) as Fingerprint
const otherVector = Float32Array.of(0, 1, 0, 0)

/** Sees the same object as `QuarterModel`, and has other vectors. */
class OtherModel extends QuarterModel {
  override readonly model = 'v2'
  override readonly fingerprint = otherFingerprint

  override async analyse(...asked: Parameters<QuarterModel['analyse']>) {
    const analysed = await super.analyse(...asked)
    return { ...analysed, vector: analysed.vector && otherVector }
  }
}

const first = new QuarterModel()
const second = new OtherModel()
/** g3 has the objects of g1 in other shards: the same model. */
const made: readonly Omit<RoutedGeneration, 'share' | 'state'>[] = [
  generation,
  { ...generation, generation: 'g2' as Generation, model: 'v2', fingerprint: otherFingerprint },
  { ...generation, generation: 'g3' as Generation, weights: 'v1' },
]
const vectorOf = (name: string) => (name === 'g2' ? otherVector : unitVector)
const modelOf = (name: string) => (name === 'g2' ? second : first)
const byShares = (shares: readonly number[]): readonly RoutedGeneration[] =>
  made.flatMap((each, at) => {
    const share = shares[at]!
    // Below 0: retired.
    return share < 0 ? [] : [{ ...each, share, state: share > 0 ? 'serving' : 'standby' }]
  })

/** A replica of each, whose hits say whose they are, and which says what it holds, so that answers of it are kept. */
function newReplicas(): readonly TableReplica[] {
  return made.map(({ generation: name }) => {
    const replica = new TableReplica({ generation: name, partitions: allPartitions })
    replica.hits = [hit(`of-${name}`, 0.9)]
    replica.set(itemId('a'), {
      attributes: 1,
      objects: 1,
      searchable: true,
      snapshot: snapshot('a'),
      objectList: [{ box: wholePicture, label: '', score: 1, image: 0 }],
    })
    replica.setVector(itemId('a'), 0, vectorOf(name))
    return Object.assign(replica, { content: () => ({ writes: 1, watermarks: {}, indexAgeMs: 0 }) })
  })
}

let replicas: readonly TableReplica[]
let gateway: GatewayFixture

const open = async (
  routing: () => readonly RoutedGeneration[],
  held = modelOf as (name: string) => ImageModel | undefined,
) => {
  replicas = newReplicas()
  gateway = await openGateway({ replicas, ports: { routing, modelOf: held } })
}
const post = async (url: string, payload: object) => (await gateway.app.inject({ method: 'POST', url, payload })).json()
const search = (payload: object) => post('/v1/search', payload)
const base64 = (text = '') => Buffer.concat([picture, Buffer.from(text)]).toString('base64')

/** Everything of the answer is of the generation it names. */
function expectWhole(answer: SearchAnswer): void {
  const { generation: name, model, results } = answer
  expect({ model, shown: results.map(each => each.itemId) }).toEqual({
    model: modelOf(name).model,
    shown: [`of-${name}`],
  })
  for (const { generation: of, searches } of replicas)
    for (const request of searches) {
      expect([request.generation, request.fingerprint]).toEqual([of, modelOf(of).fingerprint])
      expect(request.vector).toEqual(vectorOf(of))
    }
}

describe('while the routing changes at every look, and pictures and answers are kept', () => {
  const looks: (readonly number[])[] = []
  let look = 0

  beforeAll(() => open(() => byShares(looks[look++ % looks.length]!)))
  afterAll(() => gateway.close())

  const share = fc.constantFrom(-1, 0, 0.05, 0.5, 1)
  const routings = fc.array(fc.tuple(share, share, share), { minLength: 1, maxLength: 4 })
  const queries = fc.record({
    subject: fc.constantFrom<object>(
      { image: { base64: base64() } },
      { image: { base64: base64() }, object: 0 },
      { image: { base64: base64() }, box: [0, 0, 0.3, 0.3] },
      { image: { base64: base64('another') } },
      { image: { itemId: 'a' } },
      { vector: [...unitVector], fingerprint },
      { vector: [...otherVector], fingerprint: otherFingerprint },
    ),
    session: fc.string({ minLength: 1, maxLength: 8 }),
    named: fc.option(fc.constantFrom('g1', 'g2', 'g3'), { nil: undefined }),
  })

  test('no answer mixes generations', async () => {
    await fc.assert(
      fc.asyncProperty(routings, fc.array(queries, { minLength: 1, maxLength: 6 }), async (changes, asked) => {
        looks.splice(0, looks.length, ...changes)
        const answers = await Promise.all(
          asked.map(({ subject, session, named }) =>
            search({ ...subject, session, ...(named && { generation: named }) }),
          ),
        )
        for (const [at, answer] of answers.entries()) {
          if ('error' in answer)
            expect(['not-ready', 'bad-request', 'fingerprint-mismatch']).toContain(answer.error.code)
          else expectWhole(answer)
          const { named } = asked[at]!
          if (!('error' in answer) && named !== undefined) expect(answer.generation).toBe(named)
        }
      }),
    )
  })

  test('no query is lost while shares go to and fro', async () => {
    const part = fc.integer({ min: 0, max: 20 })
    const shared = fc
      .tuple(part, part, part)
      .filter(parts => parts.some(each => each > 0))
      .map(parts => parts.map(each => each / 20))
    const unnamed = queries.map(({ subject, session }) => ({ ...subject, session }))
    await fc.assert(
      fc.asyncProperty(
        fc.array(shared, { minLength: 2, maxLength: 5 }),
        fc.array(
          unnamed.filter(query => !('vector' in query)),
          { minLength: 1, maxLength: 6 },
        ),
        async (changes, asked) => {
          looks.splice(0, looks.length, ...changes)
          for (const answer of await Promise.all(asked.map(search))) {
            expectWhole(answer)
            expect(answer.degraded).toEqual([])
          }
        },
      ),
    )
  })
})

describe('with two generations that share the queries', () => {
  afterEach(() => gateway.close())

  test('what was detected is searched by whoever detected it, until that is retired', async () => {
    let shares = [0, 1, -1]
    await open(() => byShares(shares))
    const { generation: name, image } = await post('/v1/detect', { image: { base64: base64() } })
    expect(name).toBe('g2')
    shares = [1, 0, -1]
    const followUp = { image: { blob: image.blob }, object: 0, generation: name }
    expectWhole(await search(followUp))
    expect((await search({ image: { blob: image.blob } })).generation).toBe('g1')
    shares = [1, -1, -1]
    expect((await search(followUp)).error).toMatchObject({
      code: 'bad-request',
      retryable: false,
      details: { field: 'generation', known: ['g1'] },
    })
  })

  test('a vector goes to one of its model, and nowhere when none of these has a share', async () => {
    let shares = [0.5, 0.5, 0]
    await open(() => byShares(shares))
    for (const session of ['a', 'b', 'c', 'd', 'e', 'f']) {
      const ofFirst = await search({ vector: [...unitVector], fingerprint, session })
      expect([ofFirst.generation, ofFirst.degraded]).toEqual(['g1', []])
      expect((await search({ vector: [...otherVector], fingerprint: otherFingerprint, session })).generation).toBe('g2')
    }
    shares = [0, 1, 0]
    expect((await search({ vector: [...unitVector], fingerprint })).error).toMatchObject({
      code: 'fingerprint-mismatch',
      details: { expected: otherFingerprint, serving: [{ generation: 'g2', fingerprint: otherFingerprint }] },
    })
    expect((await search({ vector: [...unitVector], fingerprint, generation: 'g2' })).error.code).toBe(
      'fingerprint-mismatch',
    )
    expectWhole(await search({ vector: [...unitVector], fingerprint, generation: 'g1' }))
  })
})

describe('a gateway that holds one of two models', () => {
  let shares: readonly number[]

  const openHolding = async (held: (name: string) => ImageModel | undefined) => {
    shares = [0, 1, -1]
    await open(() => byShares(shares), held)
  }
  const ready = async () => (await gateway.app.inject('/readyz')).statusCode

  afterEach(() => gateway.close())

  test('answers pictures of the other by the one it holds, and says so; vectors and items by the other', async () => {
    await openHolding(name => (name === 'g1' ? first : undefined))
    shares = [0.5, 0.5, -1]
    const sessions = Array.from({ length: 20 }, (_, at) => `s${at}`)
    const degraded = await Promise.all(
      sessions.map(async session => {
        const ofItem = await search({ image: { itemId: 'a' }, session })
        const [detected, found] = [
          await post('/v1/detect', { image: { base64: base64() }, session }),
          await search({ image: { base64: base64() }, session }),
        ]
        for (const answer of [ofItem, found]) expectWhole(answer)
        expect([detected.generation, found.generation]).toEqual(['g1', 'g1'])
        expect(found.degraded).toEqual(ofItem.generation === 'g2' ? ['generation-not-held'] : [])
        expect(detected.degraded).toEqual(found.degraded)
        return found.degraded.length
      }),
    )
    expect(new Set(degraded)).toEqual(new Set([0, 1]))
    expect((await search({ image: { base64: base64() }, generation: 'g2' })).error.code).toBe('not-ready')
    expect(await ready()).toBe(200)
  })

  test('is not ready when the other alone has queries', async () => {
    await openHolding(name => (name === 'g1' ? first : undefined))
    const response = await gateway.app.inject({
      method: 'POST',
      url: '/v1/search',
      payload: { image: { base64: base64() } },
    })
    expect([response.statusCode, response.json().error.code, await ready()]).toEqual([503, 'not-ready', 503])
    shares = [1, 0, -1]
    expect(await ready()).toBe(200)
  })

  test('is not taken in by a model of another fingerprint', async () => {
    await openHolding(() => first)
    const before = first.asked.length
    expect((await search({ image: { base64: base64() } })).error.code).toBe('not-ready')
    expect([first.asked.length, replicas.map(({ searches }) => searches)]).toEqual([before, [[], [], []]])
  })

  test('nor is it sent queries of a generation whose ranking weights it does not know', async () => {
    replicas = newReplicas()
    const routing = () =>
      byShares([0.5, 0.5, -1]).map(each => (each.generation === 'g2' ? { ...each, weights: 'v9' } : each))
    gateway = await openGateway({ replicas, ports: { routing, modelOf } })
    for (const session of ['a', 'b', 'c', 'd', 'e', 'f', 'g', 'h'])
      expectWhole(await search({ image: { itemId: 'a' }, session }))
    expect((await search({ image: { itemId: 'a' }, generation: 'g2' })).error.code).toBe('not-ready')
  })
})
