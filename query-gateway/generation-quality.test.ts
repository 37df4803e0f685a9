import { createNoopMeter } from '@opentelemetry/api'
import fc from 'fast-check'
import { beforeEach, describe, expect, test } from 'vitest'
import type { SearchAnswer } from '../schemas/http-search.ts'
import type { Generation } from '../schemas/ids.ts'
import { QualityBook, slotMs } from './generation-quality.ts'

const [g1, g2] = ['g1', 'g2'] as [Generation, Generation]
const halfHourMs = 30 * 60_000

let nowMs: number
let book: QualityBook
let queries = 0

beforeEach(() => {
  nowMs = 1_760_000_000_000
  queries = 0
  book = new QualityBook(() => nowMs, createNoopMeter())
})

type Answered = Parameters<QualityBook['answered']>[1]

function answer({
  total = 20,
  similarities = [0.9],
  degraded = [] as string[],
  queryId = `q${++queries}`,
} = {}): Answered {
  const results = similarities.map(similarity => ({ similarity })) as unknown as SearchAnswer['results']
  const timingMs = { decode: 0, detect: 0, embed: 0, fanout: 0, rank: 0, total }
  return { queryId, results, degraded, timingMs }
}
const pointsOf = (generation: Generation) => book.curves().find(({ id }) => id === generation)?.points ?? []

describe('the curves of two generations', () => {
  test('tell each its own', () => {
    book.answered(g1, answer({ similarities: [0.4, 0.8] }))
    book.answered(g1, answer({ similarities: [0.6] }))
    book.answered(g2, answer({ similarities: [], degraded: ['shard-timeout'] }))
    book.failed(g2)
    expect(pointsOf(g1)).toMatchObject([{ searches: 2, failed: 0, degraded: 0, withoutResults: 0 }])
    expect(pointsOf(g1)[0]!.similarity).toBeCloseTo(0.7)
    expect(pointsOf(g2)).toMatchObject([{ searches: 1, failed: 1, degraded: 1, withoutResults: 1, similarity: null }])
  })

  test('have a point for each time with searches, and none of longer ago than half an hour', () => {
    book.answered(g1, answer())
    nowMs += slotMs
    book.answered(g2, answer())
    nowMs += 4 * slotMs
    book.answered(g2, answer())
    const [first, second] = pointsOf(g2)
    expect(second!.atMs - first!.atMs).toBe(4 * slotMs)
    nowMs += halfHourMs - slotMs
    expect(book.curves().map(({ id, points }) => [id, points.length])).toEqual([['g2', 1]])
    nowMs += halfHourMs
    expect(book.curves()).toEqual([])
  })

  test('hold no more than half an hour of a generation that goes on', () => {
    for (let at = 0; at < 400; at++, nowMs += slotMs) book.answered(g1, answer())
    expect(pointsOf(g1).length).toBeLessThanOrEqual(halfHourMs / slotMs)
  })

  test('have quantiles that are right to a bucket', () => {
    fc.assert(
      fc.property(fc.array(fc.double({ min: 0.3, max: 15_000, noNaN: true }), { minLength: 1 }), times => {
        const fresh = new QualityBook(() => nowMs, createNoopMeter())
        for (const total of times) fresh.answered(g1, answer({ total }))
        const sorted = times.toSorted((a, b) => a - b)
        const { p50Ms, p95Ms } = fresh.curves()[0]!.points[0]!
        for (const [told, share] of [
          [p50Ms!, 0.5],
          [p95Ms!, 0.95],
        ] as const) {
          const exact = sorted[Math.ceil(share * sorted.length) - 1]!
          expect(told / exact).toBeGreaterThan(0.999)
          expect(told / exact).toBeLessThan(1.27)
        }
      }),
    )
  })
})

describe('a search whose results were chosen from', () => {
  test('counts once, for the generation that answered it', () => {
    book.answered(g2, answer({ queryId: 'q' }))
    book.engaged([
      { queryId: 'q', action: 'notRelevant' },
      { queryId: 'q', action: 'click' },
      { queryId: 'q', action: 'save' },
      { queryId: 'of another gateway', action: 'click' },
    ])
    expect(pointsOf(g2)).toMatchObject([{ engaged: 1 }])
  })

  test('counts when it is reported, which may be later', () => {
    book.answered(g2, answer({ queryId: 'q' }))
    nowMs += 3 * slotMs
    book.engaged([{ queryId: 'q', action: 'purchase' }])
    expect(pointsOf(g2).map(({ searches, engaged }) => [searches, engaged])).toEqual([
      [1, 0],
      [0, 1],
    ])
  })
})
