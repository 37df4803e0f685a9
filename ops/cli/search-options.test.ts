import { describe, expect, test } from 'vitest'
import { searchQuery } from './search-options.ts'

test('flags become the query of the API, and only those given', () => {
  expect(searchQuery({ rerank: true })).toEqual({})
  expect(searchQuery({ rerank: false, exact: true, k: '5', object: '0', box: '0,0.1,0.5,1' })).toEqual({
    rerank: false,
    exact: true,
    k: 5,
    object: 0,
    box: [0, 0.1, 0.5, 1],
  })
})

test('filters: names of the API, then attributes; repeated names are alternatives', () => {
  const filter = [
    'category=Lights',
    'category=Office',
    'region=de',
    'available=true',
    'price=10..',
    'seats=3',
    'wood=oak',
  ]
  expect(searchQuery({ rerank: true, filter }).filter).toEqual({
    category: ['Lights', 'Office'],
    region: ['de'],
    available: true,
    price: { min: 10 },
    attributes: { seats: [3], wood: ['oak'] },
  })
  expect(searchQuery({ rerank: true, filter: ['price=..9.5'] }).filter).toEqual({ price: { max: 9.5 } })
})

describe('what cannot be understood is refused', () => {
  test.each([{ k: 'ten' }, { box: '0,0,1' }, { box: '0,0,1,' }, { filter: ['lamp'] }, { filter: ['price=5'] }])(
    '%j',
    flags => {
      expect(() => searchQuery({ rerank: true, ...flags })).toThrow(expect.objectContaining({ code: 'bad-request' }))
    },
  )
})
