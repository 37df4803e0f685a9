import { expect, test } from 'vitest'
import type { Bound } from './canary-bounds.ts'
import { evaluate } from './canary-evaluation.ts'

const age = (candidate: number | null, reference: number | null = 10) => ({ 'index.ageMs': { candidate, reference } })
const held = (bound: Omit<Bound, 'measure'>, measured = age(12), hasLabelledSet = false) =>
  evaluate(measured, [{ measure: 'index.ageMs', ...bound }], { hasLabelledSet })

test.each<[Omit<Bound, 'measure'>, boolean]>([
  [{ atMost: 12 }, true],
  [{ atMost: 11.9 }, false],
  [{ atLeast: 12 }, true],
  [{ atLeast: 12.1 }, false],
  [{ atMost: 1.2, relativeTo: 'times-reference' }, true],
  [{ atMost: 1.1, relativeTo: 'times-reference' }, false],
  [{ atMost: 2, relativeTo: 'plus-reference' }, true],
  [{ atMost: 1, relativeTo: 'plus-reference' }, false],
  [{ atLeast: 3, relativeTo: 'plus-reference' }, false],
  [{ atMost: 1.1, relativeTo: 'times-reference', unlessBelow: 12 }, true],
  [{ atMost: 1.1, relativeTo: 'times-reference', unlessBelow: 11 }, false],
])('%o holds for 12 against 10: %s', (bound, met) => {
  const { passed, reasons } = held(bound)
  expect(passed).toBe(met)
  expect(reasons).toHaveLength(met ? 0 : 1)
})

test('a reason names measure, value and bound', () => {
  expect(held({ atMost: 1, relativeTo: 'plus-reference' }).reasons).toEqual([
    "index.ageMs is 12, at most the reference's 10 plus 1: age of the oldest event that is not searchable, of the stalest replica",
  ])
  expect(held({ atMost: 1.1, relativeTo: 'times-reference' }).reasons[0]).toContain(
    "index.ageMs is 1.2 times the reference's 10, at most 1.1 times the reference",
  )
})

test('shares of few questions are not failed by rounding', () => {
  const measured = { 'labelled.recall@10': { candidate: 0.9 - 0.03, reference: 0.9 } }
  const bound = { measure: 'labelled.recall@10', atLeast: -0.03, relativeTo: 'plus-reference' } as const
  expect(evaluate(measured, [bound], { hasLabelledSet: true }).passed).toBe(true)
})

test.each<[Bound['required'], boolean, boolean]>([
  [undefined, false, false],
  ['yes', true, false],
  ['no', true, true],
  ['when-configured', true, false],
  ['when-configured', false, true],
])('what is not measured, required %s, with a labelled set %s, passes: %s', (required, hasLabelledSet, passed) => {
  const bound = { atMost: 5, ...(required === undefined ? {} : { required }) }
  const evaluation = held(bound, age(null), hasLabelledSet)
  expect(evaluation.passed).toBe(passed)
  expect(evaluation.measures[0]).toMatchObject({ value: null, met: passed ? null : false })
  if (!passed) expect(evaluation.reasons[0]).toContain('index.ageMs: not measured')
})

test('a bound relative to a reference that was not measured is not measured', () => {
  expect(held({ atMost: 2, relativeTo: 'plus-reference' }, age(12, null)).passed).toBe(false)
})

test('both sides are told, with and without a bound', () => {
  const measured = { ...age(12), 'engagement.recall@24': { candidate: 0.5, reference: 0.4 } }
  const { measures } = evaluate(measured, [{ measure: 'index.ageMs', atMost: 20 }], { hasLabelledSet: false })
  expect(measures.map(({ name, of, value, met }) => [name, of, value, met])).toEqual([
    ['index.ageMs', 'candidate', 12, true],
    ['index.ageMs', 'reference', 10, null],
    ['engagement.recall@24', 'candidate', 0.5, null],
    ['engagement.recall@24', 'reference', 0.4, null],
  ])
})
