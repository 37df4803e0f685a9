import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import type { EngagementAction, EngagementRecord } from '../../schemas/engagement.ts'
import { engagementHalfLifeMs, examination, noEngagement, storedWeight } from '../../schemas/item-engagement.ts'
import { defaultEngagementLimits, type EngagementState, engagementStep, newEngagementState } from './engagement-step.ts'

const atMs = Date.UTC(2026, 10, 1)
const weight = storedWeight(atMs)

const shown = (queryId: string, itemIds: readonly string[], session = 's1'): EngagementRecord => ({
  type: 'ResultsShown',
  queryId,
  generation: 'g1',
  atMs,
  itemIds,
  session,
})
const did = (queryId: string, itemId: string, action: EngagementAction = 'click'): EngagementRecord => ({
  type: 'Engaged',
  queryId,
  itemId,
  action,
  position: 0,
  atMs,
})

function fold(records: readonly EngagementRecord[], limits = defaultEngagementLimits): EngagementState {
  const state = newEngagementState(limits)
  for (const record of records) engagementStep(state, record, atMs)
  return state
}

const of = (state: EngagementState, itemId: string) => {
  const { looks, clicks, saves, rejections } = state.items.get(itemId) ?? noEngagement
  return {
    looks: looks / weight,
    clicks: clicks / weight,
    saves: saves / weight,
    rejections: rejections / weight,
  }
}

describe('what counts', () => {
  test('looks by the place in the answer, and each deed once', () => {
    const state = fold([
      shown('q', ['sofa', 'lamp']),
      did('q', 'lamp'),
      did('q', 'lamp'),
      did('q', 'lamp', 'save'),
      did('q', 'lamp', 'cart'),
      did('q', 'lamp', 'purchase'),
    ])
    expect(of(state, 'sofa')).toEqual({ looks: 1, clicks: 0, saves: 0, rejections: 0 })
    expect(of(state, 'lamp')).toEqual({ looks: 0.5, clicks: 1, saves: 1, rejections: 0 })
  })

  test('the same item twice in an answer was looked at in its first place', () => {
    expect(of(fold([shown('q', ['a', 'b', 'a'])]), 'a').looks).toBe(1)
  })

  test('nothing that was not shown, by no query or by another one', () => {
    const state = fold([shown('q', ['sofa']), did('q', 'lamp'), did('other', 'sofa'), shown('third', ['rug'])])
    expect(of(state, 'lamp')).toEqual(noEngagement)
    expect(of(state, 'sofa').clicks).toBe(0)
  })

  test('what is reported before the record of what was shown, once that is read', () => {
    const state = fold([did('q', 'lamp'), did('q', 'lamp'), did('q', 'rug'), shown('q', ['lamp'])])
    expect(of(state, 'lamp')).toEqual({ looks: 1, clicks: 1, saves: 0, rejections: 0 })
    expect(of(state, 'rug')).toEqual(noEngagement)
  })

  test('a rejection until it is taken back, and then again', () => {
    const steps = [shown('q', ['lamp']), did('q', 'lamp', 'notRelevant')]
    expect(of(fold(steps), 'lamp').rejections).toBe(1)
    const back = [...steps, did('q', 'lamp', 'relevant'), did('q', 'lamp', 'relevant')]
    expect(of(fold(back), 'lamp').rejections).toBe(0)
    expect(of(fold([...back, did('q', 'lamp', 'notRelevant')]), 'lamp').rejections).toBe(1)
  })

  test('older things less: half of it after the half-life', () => {
    const state = newEngagementState()
    engagementStep(state, shown('old', ['lamp'], 'a'), atMs - engagementHalfLifeMs)
    engagementStep(state, shown('new', ['lamp'], 'b'), atMs)
    expect(of(state, 'lamp').looks).toBeCloseTo(1.5, 12)
  })

  test('far down the chance of a look has a floor', () => {
    expect([0, 1, 3, 19, 500].map(examination)).toEqual([1, 0.5, 0.25, 0.05, 0.05])
  })
})

describe('bounds', () => {
  test('one session cannot do the same with an item over and over', () => {
    const queries = Array.from({ length: 30 }, (_, n) => [shown(`q${n}`, ['lamp']), did(`q${n}`, 'lamp')]).flat()
    const state = fold(queries)
    expect(of(state, 'lamp')).toMatchObject({ looks: expect.closeTo(30), clicks: 1 })
  })

  test('queries and deeds of a session beyond its allowance count not at all, and no others suffer', () => {
    const limits = { ...defaultEngagementLimits, queriesPerWindow: 3, itemsPerWindow: 2 }
    const items = ['a', 'b', 'c', 'd', 'e']
    const bot = items.flatMap((item, n) => [shown(`bot${n}`, items, 'bot'), did(`bot${n}`, item)])
    const state = fold([...bot, shown('q', ['a'], 'person'), did('q', 'a')], limits)
    expect(items.map(item => of(state, item).clicks)).toEqual([2, 1, 0, 0, 0])
    expect(of(state, 'b').looks).toBeCloseTo(3 * 0.5)
  })

  test('the allowance is given anew after its window', () => {
    const limits = { ...defaultEngagementLimits, queriesPerWindow: 1 }
    const state = newEngagementState(limits)
    for (const [n, laterMs] of [0, 1, limits.windowMs].entries())
      engagementStep(state, shown(`q${n}`, [`item${n}`]), atMs + laterMs)
    expect([...state.items.keys()]).toEqual(['item0', 'item2'])
  })

  test('on a few items of a query something may be done', () => {
    const limits = { ...defaultEngagementLimits, itemsPerQuery: 2 }
    const items = ['a', 'b', 'c']
    const late = fold([shown('q', items), ...items.map(item => did('q', item))], limits)
    const early = fold([...items.map(item => did('q', item)), shown('q', items)], limits)
    for (const state of [late, early]) expect(items.map(item => of(state, item).clicks)).toEqual([1, 1, 0])
  })

  test('what is remembered is bounded by count and age', () => {
    const limits = { ...defaultEngagementLimits, queries: 10, sessions: 5 }
    const state = newEngagementState(limits)
    for (let n = 0; n < 100; n++) engagementStep(state, shown(`q${n}`, ['a'], `s${n}`), atMs)
    expect(state.queries.size).toBe(10)
    engagementStep(state, did('q0', 'a'), atMs)
    expect(of(state, 'a').clicks).toBe(0)
    engagementStep(state, shown('later', ['b']), atMs + limits.queryAgeMs + 1)
    expect([...state.queries.keys()]).toEqual(['later'])
  })
})

const arbitraryRecord: fc.Arbitrary<EngagementRecord> = fc
  .record({
    isShown: fc.boolean(),
    query: fc.integer({ min: 0, max: 4 }),
    items: fc.array(fc.integer({ min: 0, max: 3 }), { maxLength: 4 }),
    session: fc.integer({ min: 0, max: 2 }),
    action: fc.constantFrom<EngagementAction[]>('click', 'save', 'cart', 'purchase', 'notRelevant', 'relevant'),
  })
  .map(({ isShown, query, items, session, action }) =>
    isShown
      ? shown(
          `q${query}`,
          items.map(item => `item${item}`),
          session === 0 ? '' : `s${session}`,
        )
      : did(`q${query}`, `item${items[0] ?? 0}`, action),
  )
const tight = {
  queries: 3,
  queryAgeMs: 1_000,
  itemsPerQuery: 2,
  sessions: 2,
  windowMs: 500,
  queriesPerWindow: 2,
  itemsPerWindow: 3,
}

describe('whatever comes', () => {
  test('reading it again gives the same numbers to the last bit', () => {
    fc.assert(
      fc.property(fc.array(fc.tuple(arbitraryRecord, fc.nat(300))), steps => {
        const run = () => {
          const state = newEngagementState(tight)
          let nowMs = atMs
          for (const [record, passedMs] of steps) {
            nowMs += passedMs
            engagementStep(state, record, nowMs)
          }
          return [...state.items]
        }
        expect(run()).toStrictEqual(run())
      }),
    )
  })

  test('a record that comes twice counts once, as long as its query is remembered', () => {
    const wide = { ...defaultEngagementLimits }
    const notTakenBack = arbitraryRecord.filter(record => !('action' in record) || !isOpinion(record.action))
    fc.assert(
      fc.property(fc.array(notTakenBack), fc.array(fc.nat()), (records, again) => {
        const repeated = records.flatMap((record, at) => (again.includes(at) ? [record, record] : [record]))
        const late = records.concat(records.filter(({ type }) => type === 'Engaged'))
        expect([...fold(repeated, wide).items]).toStrictEqual([...fold(records, wide).items])
        expect(looksOf(fold(late, wide))).toStrictEqual(looksOf(fold(records, wide)))
      }),
    )
  })

  test('numbers are never negative, and never more deeds than showings', () => {
    fc.assert(
      fc.property(fc.array(arbitraryRecord, { maxLength: 60 }), records => {
        const state = fold(records, tight)
        const showings = records.filter(({ type }) => type === 'ResultsShown').length
        for (const { looks, clicks, saves, rejections } of state.items.values()) {
          for (const each of [looks, clicks, saves, rejections]) expect(each).toBeGreaterThanOrEqual(-1e-9 * weight)
          expect(Math.max(clicks, saves, rejections)).toBeLessThanOrEqual(showings * weight * (1 + 1e-9))
        }
      }),
    )
  })
})

const isOpinion = (action: EngagementAction): boolean => action === 'notRelevant' || action === 'relevant'
const looksOf = (state: EngagementState) => [...state.items].map(([itemId, { looks }]) => [itemId, looks])
