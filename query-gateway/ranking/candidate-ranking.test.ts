import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ItemEngagement } from '../../schemas/item-engagement.ts'
import type { ItemSnapshot } from '../../schemas/shard-api.ts'
import { compareHits } from '../fanout/merge-hits.ts'
import type { RankedHit } from '../shard-fanout.ts'
import { generation, hit, snapshot } from '../testing/gateway-fixture.ts'
import { CandidateRanking } from './candidate-ranking.ts'
import type { ItemRates } from './item-rates.ts'
import { collapse } from './near-identical.ts'
import { majorityCategory, rank } from './rank.ts'
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

/** Of some items: what is asked of others nobody knows. */
const engagements = fc
  .dictionary(
    fc.nat(29).map(at => `item-${at}`),
    fc.record({ looks: fc.nat(200), clicks: fc.nat(50), saves: fc.nat(20), rejections: fc.nat(20) }),
  )
  .map(drawn => new Map<string, ItemEngagement>(Object.entries(drawn)))
const ratesFrom = (known: ReadonlyMap<string, ItemEngagement>): ItemRates =>
  ({
    of: async (itemIds: readonly string[]) => ({
      engagement: new Map([...known].filter(([itemId]) => itemIds.includes(itemId))),
      isAway: false,
    }),
  }) as unknown as ItemRates

const wishes = fc.record(
  { region: fc.constant('de'), priceAround: fc.constant(40), category: fc.constantFrom('a', 'b') },
  { requiredKeys: [] },
)
const asked = fc.record({ k: fc.integer({ min: 1, max: 8 }), collapse: fc.boolean(), prefer: wishes })

test('what comes of looking into the nearest alone is what comes of looking into all', async () => {
  const property = fc.asyncProperty(
    candidates,
    asked,
    engagements,
    fc.constantFrom(usual, weights),
    async (hits, { k, collapse: isCollapsed, prefer }, engagement, used) => {
      const ranking = new CandidateRanking(new WeightsBook([used]), ratesFrom(engagement))
      const wish = { collapse: isCollapsed, prefer }
      const { results } = await ranking.order(hits, { generation, wish, k, like: null })
      const { region = null, priceAround, category = majorityCategory(hits) } = prefer
      const price = priceAround === undefined ? null : { around: priceAround, currency: null }
      const ranked = rank(hits, { weights: used, region, price, category, engagement })
      const expected = isCollapsed
        ? collapse(ranked, { k, ...used.alike })
        : ranked.slice(0, k).map(shown => ({ shown }))
      expect(results.map(({ itemId, score, alike }) => [itemId, score, alike])).toEqual(
        expected.map(each => [each.shown.hit.itemId, each.shown.score, 'alike' in each ? each.alike : undefined]),
      )
    },
  )
  await fc.assert(property, { numRuns: 5_000 })
})

test('items that are far behind are not looked into', async () => {
  let looks = 0
  const hits = Array.from({ length: 400 }, (_, at): RankedHit => {
    const name = `item-${at}`
    const item = new Proxy<ItemSnapshot>(snapshot(name), {
      get: (target, field) => {
        if (at >= 45) looks++
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
