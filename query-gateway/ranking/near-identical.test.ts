import { describe, expect, test } from 'vitest'
import type { ItemSnapshot } from '../../schemas/shard-api.ts'
import { hit, snapshot, wholePicture } from '../testing/gateway-fixture.ts'
import { collapse } from './near-identical.ts'
import type { ScoredHit } from './rank.ts'

const scored = (id: string, similarity: number, item: Partial<ItemSnapshot> = {}): ScoredHit => ({
  hit: { ...hit(id, similarity), item: snapshot(id, item) },
  plan: 'graph',
  shard: 0,
  replica: 'r0',
  score: similarity,
})
const shown = (hits: readonly ScoredHit[], k = 10) =>
  collapse(hits, { k, similarity: 0.01 }).map(({ shown: { hit: each }, alike }) => [each.itemId, alike?.itemIds ?? []])

describe('products are shown once when', () => {
  test('they have the same picture, whatever they are called', () => {
    const same = { imageDigests: ['ab'] }
    expect(shown([scored('a', 0.9, same), scored('b', 0.9), scored('c', 0.5, same)])).toEqual([
      ['a', ['c']],
      ['b', []],
    ])
  })

  test('they have the same title and category and look as similar', () => {
    const names = ['Lamp  Oslo', 'lamp oslo', 'LAMP OSLO ']
    const hits = names.map((title, n) => scored(`i${n}`, 0.9 - n / 250, { title }))
    expect(shown(hits)).toEqual([['i0', ['i1', 'i2']]])
  })
})

describe('products are shown apart when', () => {
  test('they are other things in one picture', () => {
    const same = { imageDigests: ['ab'] }
    const lamp = scored('lamp', 0.9, same)
    const rug = scored('rug', 0.9, same)
    const box = [0.1, 0.1, 0.2, 0.2] as const
    expect(shown([lamp, { ...rug, hit: { ...rug.hit, object: { ...rug.hit.object, box } } }])).toHaveLength(2)
    expect(lamp.hit.object.box).toBe(wholePicture)
  })

  test.each([
    ['they look different', { title: 'Lamp' }, { title: 'Lamp' }, 0.88],
    ['they are of other categories', { title: 'Oslo', category: 'lamp' }, { title: 'Oslo', category: 'rug' }, 0.9],
    ['they have other titles', { title: 'Oslo' }, { title: 'Bergen' }, 0.9],
    ['they have no titles', { title: '' }, { title: ' ' }, 0.9],
  ])('%s', (_name, one, other, similarity) => {
    expect(shown([scored('a', 0.9, one), scored('b', similarity, other)])).toHaveLength(2)
  })
})

test('those that would come after the last that is shown are counted too, others not', () => {
  const lamp = { title: 'Lamp' }
  const hits = [scored('a', 0.9, lamp), scored('b', 0.9), scored('c', 0.893, lamp), scored('d', 0.9)]
  expect(shown(hits, 1)).toEqual([['a', ['c']]])
})

test('of many the first are named, and all are counted', () => {
  const hits = Array.from({ length: 50 }, (_, n) => scored(`i${n}`, 0.9, { imageDigests: ['ab'] }))
  const [only, ...others] = collapse(hits, { k: 5, similarity: 0 })
  expect(others).toEqual([])
  expect(only?.alike?.count).toBe(49)
  expect(only?.alike?.itemIds).toEqual(hits.slice(1, 21).map(({ hit: { itemId } }) => itemId))
})
