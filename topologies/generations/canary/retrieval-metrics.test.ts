import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { Box } from '../../../schemas/mutation.ts'
import { bestOverlap, intersectionOverUnion, isHit, ndcg } from './retrieval-metrics.ts'

test('a hit is a wanted id among the first k', () => {
  const wanted = new Set(['b', 'x'])
  expect([1, 2, 3].map(k => isHit(['a', 'b', 'c'], wanted, k))).toEqual([false, true, true])
})

describe('nDCG', () => {
  const grades = new Map([
    ['same', 2],
    ['alike', 1],
  ])

  test('is 1 for the ideal order, and what the formula says for others', () => {
    expect(ndcg(['same', 'alike', 'other'], grades, 10)).toBe(1)
    const swapped = (1 + 3 / Math.log2(3)) / (3 + 1 / Math.log2(3))
    expect(ndcg(['alike', 'same'], grades, 10)).toBeCloseTo(swapped, 12)
    expect(ndcg(['other', 'same'], grades, 1)).toBe(0)
  })

  test('lies between 0 and 1, and an irrelevant id in front never helps', () => {
    fc.assert(
      fc.property(fc.shuffledSubarray(['same', 'alike', 'x', 'y', 'z']), ranked => {
        const value = ndcg(ranked, grades, 10)
        expect(value).toBeGreaterThanOrEqual(0)
        expect(value).toBeLessThanOrEqual(1)
        expect(ndcg(['irrelevant', ...ranked], grades, 10)).toBeLessThanOrEqual(value)
      }),
    )
  })
})

describe('overlap', () => {
  const box: Box = [0, 0, 0.5, 0.5]

  test('intersection over union', () => {
    expect(intersectionOverUnion(box, box)).toBe(1)
    expect(intersectionOverUnion(box, [0.25, 0, 0.75, 0.5])).toBeCloseTo(1 / 3, 12)
    expect(intersectionOverUnion(box, [0.5, 0.5, 1, 1])).toBe(0)
  })

  test('the best box counts only from the least overlap on', () => {
    const boxes: Box[] = [
      [0.25, 0, 0.75, 0.5],
      [0.05, 0, 0.5, 0.5],
    ]
    expect(bestOverlap(boxes, box, 0.5)).toBe(1)
    expect(bestOverlap(boxes.slice(0, 1), box, 0.5)).toBeNull()
    expect(bestOverlap([], box, 0.5)).toBeNull()
  })
})
