import { expect, test } from 'vitest'
import type { Facets } from '../../schemas/http-search.ts'
import { FacetMemory } from './facet-memory.js'

const facets = (more: Partial<Facets>): Facets => ({
  of: 10,
  category: [],
  region: [],
  available: [],
  price: null,
  attributes: {},
  ...more,
})
const both = facets({
  category: [
    { value: 'lamp', count: 7 },
    { value: 'sofa', count: 3 },
  ],
})

test('choosing a value leaves the counts of the others standing', () => {
  const categories = new FacetMemory('category')
  categories.learn(both, undefined, 'photo')
  categories.learn(facets({ category: [{ value: 'lamp', count: 9 }] }), { category: ['lamp'] }, 'photo')
  expect(categories.options).toEqual([
    { value: 'lamp', count: 9 },
    { value: 'sofa', count: 3 },
  ])
})

test('counts of another search, or of other filters, are not shown as those of this one', () => {
  const categories = new FacetMemory('category')
  const lamps = facets({ category: [{ value: 'lamp', count: 2 }] })
  const onlyLampsCounted = [
    { value: 'lamp', count: 2 },
    { value: 'sofa', count: null },
  ]
  categories.learn(both, undefined, 'photo')
  categories.learn(lamps, { category: ['lamp'] }, 'another photo')
  expect(categories.options).toEqual(onlyLampsCounted)
  categories.learn(both, undefined, 'photo')
  categories.learn(lamps, { category: ['lamp'], available: true }, 'photo')
  expect(categories.options).toEqual(onlyLampsCounted)
})

test('values keep their places while their counts change', () => {
  const categories = new FacetMemory('category')
  categories.learn(both, undefined, 'photo')
  categories.learn(
    facets({
      category: [
        { value: 'chair', count: 8 },
        { value: 'sofa', count: 5 },
        { value: 'lamp', count: 1 },
      ],
    }),
    undefined,
    'another photo',
  )
  expect(categories.options).toEqual([
    { value: 'lamp', count: 1 },
    { value: 'sofa', count: 5 },
    { value: 'chair', count: 8 },
  ])
})

test('attributes are told apart', () => {
  const colours = new FacetMemory('attributes', 'colour')
  const colour = [
    { value: 'green', count: 2 },
    { value: 'red', count: 1 },
  ]
  colours.learn(facets({ attributes: { colour, seats: [{ value: 3, count: 3 }] } }), undefined, 'photo')
  const green = facets({ attributes: { colour: [{ value: 'green', count: 2 }] } })
  colours.learn(green, { attributes: { colour: ['green'] } }, 'photo')
  expect(colours.options).toEqual(colour)
  colours.learn(green, { attributes: { colour: ['green'], seats: [3] } }, 'photo')
  expect(colours.options).toEqual([
    { value: 'green', count: 2 },
    { value: 'red', count: null },
  ])
})
