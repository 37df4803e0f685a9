import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { ItemEngagement } from '../../schemas/item-engagement.ts'
import type { ItemSnapshot } from '../../schemas/shard-api.ts'
import type { RankedHit } from '../shard-fanout.ts'
import { hit, snapshot } from '../testing/gateway-fixture.ts'
import { collapse } from './near-identical.ts'
import { bySimilarityAlone, contenders, explainRanking, majorityCategory, type RankingContext, rank } from './rank.ts'
import { WeightsBook } from './ranking-weights.ts'

const weights = WeightsBook.read().of({ model: 'v1' })
const { bound } = weights

const candidate = (id: string, similarity: number, item: Partial<ItemSnapshot> = {}): RankedHit => ({
  hit: { ...hit(id, similarity), item: snapshot(id, item) },
  plan: 'graph',
  shard: 0,
  replica: 'r0',
})
const nobodyWishes: RankingContext = { weights, region: null, price: null, category: null, engagement: new Map() }
const engaged = (id: string, more: Partial<ItemEngagement>): Pick<RankingContext, 'engagement'> => ({
  engagement: new Map([[id, { looks: 100, clicks: 0, saves: 0, rejections: 0, ...more }]]),
})
const orderOf = (hits: readonly RankedHit[], context: Partial<RankingContext> = {}) =>
  rank(hits, { ...nobodyWishes, ...context }).map(({ hit: { itemId } }) => itemId)

describe('of two that look equally good, the better is the one that', () => {
  test.each([
    ['is available', { available: true }, { available: false }, {}],
    ['is sold in the region', { regions: ['fr', 'de'] }, { regions: ['fr'] }, { region: 'de' }],
    ['has the price', { price: 95 }, { price: 300 }, { price: { around: 100, currency: null } }],
    ['has a price at all', { price: 900 }, { price: null }, { price: { around: 100, currency: null } }],
    [
      'has a price that can be compared',
      { price: 900, currency: 'EUR' },
      { price: 100, currency: 'USD' },
      { price: { around: 100, currency: 'EUR' } },
    ],
    ['is of the category', { category: 'lamp' }, { category: 'rug' }, { category: 'lamp' }],
  ])('%s', (_name, better, worse, context) => {
    expect(orderOf([candidate('a', 0.5, worse), candidate('b', 0.5, better)], context)).toEqual(['b', 'a'])
  })

  test.each([
    ['is clicked more', 'b', { clicks: 50 }],
    ['is saved more', 'b', { saves: 20 }],
    ['nobody finds irrelevant', 'a', { rejections: 30 }],
    ['was shown less without a click', 'a', { clicks: 0 }],
  ])('%s', (_name, first, engagement) => {
    const hits = [candidate('a', 0.5), candidate('b', 0.5)]
    expect(orderOf(hits, engaged('b', engagement))[0]).toBe(first)
  })

  test('has the lower id, when nothing else speaks', () => {
    expect(orderOf([candidate('b', 0.5), candidate('a', 0.5)])).toEqual(['a', 'b'])
  })
})

test('a single click on what nobody has seen weighs little against a proven rate', () => {
  const hits = [candidate('proven', 0.5), candidate('lucky', 0.5)]
  const engagement = new Map([
    ['proven', { looks: 1_000, clicks: 400, saves: 20, rejections: 0 }],
    ['lucky', { looks: 0.05, clicks: 1, saves: 0, rejections: 0 }],
  ])
  expect(orderOf(hits, { engagement })).toEqual(['proven', 'lucky'])
})

const count = fc.double({ min: 0, max: 1e6, noNaN: true })
const arbitraryCase = fc.record({
  hits: fc.array(
    fc.record({
      similarity: fc.double({ min: -1, max: 1, noNaN: true }),
      item: fc.record({
        available: fc.boolean(),
        price: fc.oneof(fc.constant(null), fc.double({ min: -10, max: 1e9, noNaN: true })),
        currency: fc.constantFrom('EUR', 'USD', ''),
        category: fc.constantFrom('lamp', 'rug', ''),
        regions: fc.subarray(['de', 'fr']),
      }),
      known: fc.option(fc.record({ looks: count, clicks: count, saves: count, rejections: count })),
    }),
    { maxLength: 40 },
  ),
  region: fc.constantFrom('de', null),
  price: fc.constantFrom({ around: 12, currency: 'EUR' }, { around: 1e-9, currency: null }, null),
  category: fc.constantFrom('lamp', null),
})

function caseOf({ hits, ...wishes }: typeof arbitraryCase extends fc.Arbitrary<infer T> ? T : never) {
  const candidates = hits.map(({ similarity, item }, n) => candidate(`item-${n}`, similarity, item))
  const engagement = new Map(hits.flatMap(({ known }, n) => (known === null ? [] : [[`item-${n}`, known] as const])))
  return { candidates, context: { weights, ...wishes, engagement } }
}

describe('whatever speaks for whom', () => {
  test('one that is more similar than another by more than the bound is never below it', () => {
    fc.assert(
      fc.property(arbitraryCase, given => {
        const { candidates, context } = caseOf(given)
        const ranked = rank(candidates, context)
        let least = Number.POSITIVE_INFINITY
        for (const { hit: each } of ranked) {
          expect(each.similarity - least).not.toBeGreaterThan(bound)
          least = Math.min(least, each.similarity)
        }
      }),
      { numRuns: 500 },
    )
  })

  test('collapsed or not: among those shown the bound holds, and nobody is lost', () => {
    fc.assert(
      fc.property(arbitraryCase, fc.integer({ min: 1, max: 50 }), (given, k) => {
        const { candidates, context } = caseOf(given)
        const shown = collapse(rank(candidates, context), { k, similarity: 0.01 })
        const similarities = shown.map(each => each.shown.hit.similarity)
        similarities.forEach((similarity, at) => {
          expect(similarity - Math.min(...similarities.slice(0, at), 1)).not.toBeGreaterThan(bound)
        })
        expect(shown.length).toBeLessThanOrEqual(k)
        const told = shown.reduce((sum, { alike }) => sum + 1 + (alike?.count ?? 0), 0)
        if (shown.length < k) expect(told).toBe(candidates.length)
      }),
    )
  })

  test('the parts told add up to the score', () => {
    fc.assert(
      fc.property(arbitraryCase, given => {
        const { candidates, context } = caseOf(given)
        for (const each of rank(candidates, context)) {
          const parts = explainRanking(each, context)
          expect(parts.reduce((sum, { contribution }) => sum + contribution, 0)).toBeCloseTo(each.score, 12)
          for (const { value, part } of parts) if (part !== 'similarity') expect(value).toBeGreaterThanOrEqual(0)
          for (const { value } of parts) expect(value).toBeLessThanOrEqual(1)
        }
      }),
    )
  })

  test('those who are no contenders would not have come to be shown', () => {
    fc.assert(
      fc.property(arbitraryCase, fc.integer({ min: 1, max: 10 }), (given, k) => {
        const { candidates, context } = caseOf(given)
        const sorted = [...candidates].sort((a, b) => b.hit.similarity - a.hit.similarity)
        const last = sorted[Math.min(k, sorted.length) - 1]
        if (last === undefined) return
        const close = contenders(sorted, { score: last.hit.similarity, bonus: bound })
        const ids = (hits: readonly RankedHit[]) =>
          rank(hits, context)
            .slice(0, k)
            .map(({ hit }) => hit.itemId)
        expect(ids(close)).toEqual(ids(sorted))
      }),
    )
  })
})

test('without a ranking the order and the scores are the similarities', () => {
  const hits = [candidate('a', 0.9, { available: false }), candidate('b', 0.89)]
  expect([...bySimilarityAlone(hits)].map(({ score }) => score)).toEqual([0.9, 0.89])
})

describe('the category of most of the best', () => {
  test.each([
    ['more than half agree', ['lamp', 'rug', 'lamp'], 'lamp'],
    ['half is not enough', ['lamp', 'rug'], null],
    ['none at all is no category', ['', '', 'rug'], null],
    ['nobody', [], null],
    ['the tenth counts, the eleventh does not', [...'aaaaa', ...'bbbbb', 'a'], null],
  ])('%s', (_name, categories, expected) => {
    const hits = categories.map((category, n) => candidate(`i${n}`, 1 - n / 100, { category }))
    expect(majorityCategory(hits)).toBe(expected)
  })
})
