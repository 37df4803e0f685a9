import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { IndexHit } from '../vector-index.ts'
import { BestObjects } from './best-objects.ts'

const ties = Uint32Array.from({ length: 8_192 }, (_, item) => item % 3)

/** Few scores, so that ties are many; all of them exact in f32. */
const offers = fc.array(
  fc.record({
    item: fc.integer({ min: 0, max: 40 }),
    object: fc.integer({ min: 0, max: 4 }),
    score: fc.integer({ min: -4, max: 4 }).map(n => n / 4),
  }),
  { maxLength: 120 },
)

function sorted(hits: readonly IndexHit[]): IndexHit[] {
  const best = new Map<number, IndexHit>()
  for (const hit of hits) {
    const held = best.get(hit.item)
    if (held === undefined || hit.score > held.score || (hit.score === held.score && hit.object < held.object))
      best.set(hit.item, hit)
  }
  return [...best.values()].sort((a, b) => b.score - a.score || ties[a.item]! - ties[b.item]! || a.item - b.item)
}

test('the best items with the best object of each, whatever the order of the offers and what was asked before', () => {
  const best = new BestObjects(ties)
  fc.assert(
    fc.property(offers, fc.integer({ min: 1, max: 50 }), (hits, k) => {
      best.begin(k)
      for (const { item, object, score } of hits) best.offer(item, object, score)
      const expected = sorted(hits)
      expect(best.top()).toEqual(expected.slice(0, k))
      expect(best.isAll).toBe(expected.length <= k)
      expect(best.isFull).toBe(expected.length >= k)
      expect(best.kthScore()).toBe(expected[k - 1]?.score ?? Number.NEGATIVE_INFINITY)
    }),
  )
})

test('more items than are kept: the worse ones are dropped and the answer is the same', () => {
  const best = new BestObjects(ties)
  const hits = Array.from({ length: 20_000 }, (_, i) => {
    const mixed = Math.imul(i + 1, 2_654_435_761) >>> 0
    return { item: mixed % 8_192, object: i % 5, score: (mixed % 1_024) / 1_024 }
  })
  for (const k of [1, 10, 300, 2_000]) {
    best.begin(k)
    for (const { item, object, score } of hits) best.offer(item, object, score)
    expect(best.top()).toEqual(sorted(hits).slice(0, k))
    expect(best.isAll).toBe(false)
  }
})
