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

const book = WeightsBook.read()
const weights = book.of(generation)

/** Similarities in steps that are close to the bound and to what counts as alike; a picture has one similarity. */
const candidates = fc
  .array(
    fc.record({
      step: fc.nat(60),
      title: fc.constantFrom('lamp', 'rug', 'chair', ''),
      category: fc.constantFrom('a', 'b'),
      available: fc.boolean(),
      price: fc.constantFrom(null, 5, 50),
      isPictured: fc.boolean(),
    }),
    { maxLength: 60 },
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
    fc.asyncProperty(candidates, fc.integer({ min: 1, max: 12 }), fc.boolean(), async (hits, k, isCollapsed) => {
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
    { numRuns: 500 },
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
