import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { IndexAnswer } from '../vector-index.ts'
import { answersFrom, numbersOf } from './answer-numbers.ts'

const count = fc.nat({ max: 2 ** 32 - 1 })
const answer: fc.Arbitrary<IndexAnswer> = fc.record({
  hits: fc.array(
    fc.record({ item: count, object: fc.nat({ max: 255 }), score: fc.float({ min: -1, max: 1, noNaN: true }) }),
  ),
  complete: fc.boolean(),
  plan: fc.record({
    kind: fc.constantFrom('graph', 'scan', 'exact'),
    selectivity: fc.double({ min: 0, max: 1, noNaN: true }),
    effort: count,
    segments: fc.array(fc.record({ rows: count, by: fc.constantFrom('graph', 'codes', 'vectors'), scored: count })),
  }),
})

test('answers come out of their numbers as they went in', () => {
  fc.assert(
    fc.property(fc.array(answer), answers => {
      expect(answersFrom(numbersOf(answers))).toEqual(answers)
    }),
  )
})
