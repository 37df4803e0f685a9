import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ItemSnapshot } from '../../schemas/shard-api.ts'
import { compareHits } from '../fanout/merge-hits.ts'
import type { RankedHit } from '../shard-fanout.ts'
import { generation, hit, snapshot } from '../testing/gateway-fixture.ts'
import { CandidateRanking } from './candidate-ranking.ts'
import type { ItemRates } from './item-rates.ts'
import { collapse } from './near-identical.ts'
import { rank } from './rank.ts'
import { WeightsBook } from './ranking-weights.ts'

const usual = WeightsBook.read().of(generation)
/** What is available goes up by all that the bound allows. */
const weights = { ...usual, parts: { ...usual.parts, availability: usual.bound } }
const book = new WeightsBook([weights])

/** Similarities in steps that are close to the bound and to what counts as alike; a picture has one similarity. */
const candidates = fc
  .array(
    fc.record({
      step: fc.nat(40),
      title: fc.constantFrom('lamp', 'lamp', 'lamp', 'rug', ''),
      category: fc.constant('a'),
      available: fc.nat(5).map(drawn => drawn === 0),
      price: fc.constantFrom(null, 5, 50),
      isPictured: fc.boolean(),
    }),
    { minLength: 5, maxLength: 30, size: 'max' },
  )
  .map(drawn => {
    const hits = drawn.map(({ step, isPictured, ...item }, at): RankedHit => {
      const similarity = 0.9 - step * 0.004
      const imageDigests = isPictured ? [`picture ${step}`] : []
      const name = `item-${at}`
      const found = { ...hit(name, similarity), item: snapshot(name, { ...item, imageDigests }) }
      return { hit: found, plan: 'graph', shard: 0, replica: 'r0' }
    })
    return hits.sort((a, b) => compareHits(a.hit, b.hit))
  })
const unknown = { of: async () => ({ engagement: new Map(), isAway: false }) } as unknown as ItemRates

test('what comes of looking into the nearest alone is what comes of looking into all', async () => {
  await fc.assert(
    fc.asyncProperty(candidates, fc.integer({ min: 1, max: 8 }), fc.boolean(), async (hits, k, isCollapsed) => {
      const prefer = { region: 'de', priceAround: 40, category: 'a' }
      const wish = { collapse: isCollapsed, prefer }
      const { results } = await new CandidateRanking(book, unknown).order(hits, { generation, wish, k, like: null })
      const context = { weights, region: 'de', price: { around: 40, currency: null }, category: 'a' }
      const ranked = rank(hits, { ...context, engagement: new Map() })
      const expected = isCollapsed
        ? collapse(ranked, { k, ...weights.alike })
        : ranked.slice(0, k).map(shown => ({ shown }))
      expect(results.map(({ itemId, score, alike }) => [itemId, score, alike])).toEqual(
        expected.map(each => [each.shown.hit.itemId, each.shown.score, 'alike' in each ? each.alike : undefined]),
      )
    }),
    { numRuns: 3_000 },
  )
})

test('items that are far behind are not looked into', async () => {
  let looks = 0
  const hits = Array.from({ length: 400 }, (_, at): RankedHit => {
    const name = `item-${at}`
    const item = new Proxy<ItemSnapshot>(snapshot(name), {
      get: (target, field) => {
        if (at >= 60) looks++
        return Reflect.get(target, field)
      },
    })
    return { hit: { ...hit(name, 0.9 - at * 0.004), item }, plan: 'graph', shard: 0, replica: 'r0' }
  })
  const { results } = await new CandidateRanking(book, unknown).order(hits, { generation, wish: {}, k: 24, like: null })
  expect([results.length, looks]).toEqual([24, 0])
})

test('where several of the nearest turn out to be like one, those further behind are looked into', async () => {
  const of = (name: string, similarity: number, title: string, available: boolean): RankedHit => {
    const found = { ...hit(name, similarity), item: snapshot(name, { title, available, category: '' }) }
    return { hit: found, plan: 'graph', shard: 0, replica: 'r0' }
  }
  const hits = [
    of('first lamp', 0.9, 'lamp', false),
    of('available lamp', 0.894, 'lamp', true),
    of('last lamp', 0.888, 'lamp', false),
    of('rug', 0.84, 'rug', false),
    of('available chair', 0.826, 'chair', true),
  ]
  const { results } = await new CandidateRanking(book, unknown).order(hits, { generation, wish: {}, k: 2, like: null })
  expect(results.map(({ itemId }) => itemId)).toEqual(['available lamp', 'available chair'])
})
