import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { Facets } from '../../schemas/http-search.ts'
import { expectShape } from '../testing/expect-shape.ts'
import { snapshot } from '../testing/gateway-fixture.ts'
import { facetsOf } from './facets.ts'

describe('facets', () => {
  test('count each value, most frequent first', () => {
    const facets: unknown = facetsOf([
      snapshot('a', { category: 'rug', regions: ['de', 'fr', 'de'], attributes: { colour: 'green', wide: true } }),
      snapshot('b', { category: 'lamp', regions: ['de'], available: false, attributes: { colour: 'red', size: 2 } }),
      snapshot('c', { category: 'lamp', regions: [], attributes: { colour: 'green' } }),
    ])
    expectShape(Facets, facets)
    expect(facets).toMatchObject({
      of: 3,
      category: [
        { value: 'lamp', count: 2 },
        { value: 'rug', count: 1 },
      ],
      region: [
        { value: 'de', count: 2 },
        { value: 'fr', count: 1 },
      ],
      available: [
        { value: true, count: 2 },
        { value: false, count: 1 },
      ],
    })
    expect(Object.entries(facets.attributes)).toEqual([
      [
        'colour',
        [
          { value: 'green', count: 2 },
          { value: 'red', count: 1 },
        ],
      ],
      ['size', [{ value: 2, count: 1 }]],
      ['wide', [{ value: true, count: 1 }]],
    ])
  })

  test('of nothing are empty', () => {
    expect(facetsOf([])).toEqual({ of: 0, category: [], region: [], available: [], price: null, attributes: {} })
  })

  test('prices are those of the currency that most have', () => {
    const items = [10, 20, 30].map(price => snapshot(`${price}`, { price }))
    const dollars = snapshot('usd', { price: 1_000_000, currency: 'USD' })
    const { price } = facetsOf([dollars, ...items, snapshot('free', { price: null })])
    expect(price).toMatchObject({ currency: 'EUR', min: 10, max: 30 })
    expect(price?.buckets).toHaveLength(8)
    expect(price?.buckets.map(({ count }) => count)).toEqual([1, 0, 0, 0, 1, 0, 0, 1])
  })

  test('one price is one bucket', () => {
    const { price } = facetsOf([snapshot('a', { price: 5 }), snapshot('b', { price: 5 })])
    expect(price).toEqual({ currency: 'EUR', min: 5, max: 5, buckets: [{ from: 5, to: 5, count: 2 }] })
  })

  test('every price lies in the bucket that says so, whatever the prices', () => {
    const price = fc.double({ min: -Number.MAX_VALUE, max: Number.MAX_VALUE, noNaN: true, noDefaultInfinity: true })
    // Next to each other, with no room for eight buckets.
    const nearly = fc.array(fc.constantFrom(1, 1 + Number.EPSILON, 1 + 2 * Number.EPSILON), { minLength: 1 })
    fc.assert(
      fc.property(fc.oneof(fc.array(price, { minLength: 1, maxLength: 30 }), nearly), prices => {
        const { price: facet } = facetsOf(prices.map((each, n) => snapshot(`${n}`, { price: each })))
        const { buckets, max } = facet!
        expect(buckets.reduce((sum, { count }) => sum + count, 0)).toBe(prices.length)
        for (const { from, to, count } of buckets) {
          const isIn = (each: number) => each >= from && (each < to || (to === max && each === max && from <= to))
          if (buckets.length > 1) expect(count).toBe(prices.filter(isIn).length)
        }
      }),
    )
  })

  test('long lists are cut', () => {
    const items = Array.from({ length: 400 }, (_, n) =>
      snapshot(`${n}`, {
        category: `c${n}`,
        attributes: Object.fromEntries([
          [`name${n}`, 1],
          ['id', n],
        ]),
      }),
    )
    const { category, attributes } = facetsOf(items)
    expect(category).toHaveLength(50)
    expect(Object.keys(attributes)).toHaveLength(20)
    expect(attributes.id).toHaveLength(20)
  })
})
