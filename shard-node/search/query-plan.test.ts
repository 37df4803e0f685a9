import { describe, expect, test } from 'vitest'
import { afterProbe, afterShortWalk, graphCandidates, planSegment, rowsToScore, wantedOf } from './query-plan.ts'

const graph = { rows: 200_000, hasGraph: true, unseenShare: 0 }
const log = { rows: 16_384, hasGraph: false, unseenShare: 0 }
const query = { k: 10, effort: 40, selectivity: null }

describe('without a filter', () => {
  test('graphs are walked with the effort, other segments scanned', () => {
    expect(planSegment(graph, query)).toEqual({ by: 'graph', count: 40 })
    expect(planSegment(log, query)).toEqual({ by: 'codes' })
  })

  test('smaller segments take fewer candidates; more results and rows that are not seen take more', () => {
    const of = (segment: Partial<typeof graph>, asked: Partial<typeof query> = {}): number =>
      graphCandidates({ ...graph, ...segment }, { ...query, ...asked })
    expect(of({ rows: 32_768 })).toBeLessThan(of({}))
    expect(of({ rows: 1_000_000 })).toBeGreaterThan(of({}))
    expect(of({ unseenShare: 0.5 })).toBe(80)
    expect(of({}, { k: 100 })).toBeGreaterThanOrEqual(200)
    expect(of({}, { effort: 1 })).toBeGreaterThanOrEqual(20)
    expect(of({ unseenShare: 1 })).toBeLessThanOrEqual(4_096)
  })

  test('a walk through much of a graph is a scan', () => {
    expect(planSegment({ ...graph, rows: 100 }, { ...query, k: 50 })).toEqual({ by: 'codes' })
    expect(afterShortWalk(graph, 40)).toBe(80)
    expect(afterShortWalk(graph, 200)).toBe(null)
    expect(afterShortWalk(graph, Number.POSITIVE_INFINITY)).toBe(null)
  })
})

describe('with a filter', () => {
  const steps = [0.001, 0.1, 0.2, 0.5, 0.9].map(selectivity => planSegment(graph, { ...query, selectivity }).by)

  test('few items are looked up, many are scanned, most are walked for', () => {
    expect(steps).toEqual(['list', 'list', 'codes', 'probe', 'probe'])
    expect(planSegment(log, { ...query, selectivity: 0.9 })).toEqual({ by: 'codes' })
    expect(planSegment(graph, { ...query, selectivity: 0 })).toEqual({ by: 'list' })
  })

  test('after a probe, a filter that lets through what it should is walked for, one that is correlated scanned', () => {
    const half = { ...query, selectivity: 0.5 }
    expect(afterProbe(graph, half, 0.5)).toBe(80)
    expect(afterProbe(graph, half, 1)).toBe(40)
    expect(afterProbe(graph, half, 0.2)).toBe(null)
    expect(afterProbe(graph, half, 0)).toBe(null)
    expect(afterProbe({ ...graph, unseenShare: 0.5 }, half, 0.25)).toBe(160)
  })
})

describe('rows scored of a scan', () => {
  const near = { share: 1, isFar: false }

  test('grow with the rows and the results, less than they do', () => {
    expect(rowsToScore({ ...near, rows: 16_384 }, 10)).toBe(180)
    expect(rowsToScore({ ...near, rows: 163_840 }, 10)).toBeGreaterThan(2 * 180)
    expect(rowsToScore({ ...near, rows: 163_840 }, 10)).toBeLessThan(10 * 180)
    expect(rowsToScore({ ...near, rows: 16_384 }, 100)).toBeGreaterThanOrEqual(900)
    expect(rowsToScore({ ...near, rows: 1_000_000 }, 1_000)).toBe(8_192)
  })

  test('are all rows of a small index', () => {
    expect(rowsToScore({ rows: 1_640, share: 1, isFar: false }, 10)).toBe(1_640)
    expect(rowsToScore({ rows: 1_640, share: 0.9, isFar: false }, 10)).toBeLessThan(180)
  })

  test('are fewer of a small segment of all, and never few where results may be far', () => {
    expect(rowsToScore({ rows: 16_384, share: 0.1, isFar: false }, 10)).toBe(90)
    expect(rowsToScore({ rows: 100, share: 0.1, isFar: true }, 10)).toBe(500)
  })

  test('may lie together in one of the segments', () => {
    expect(wantedOf(10_000, 100_000, 500)).toBe(132)
    expect(wantedOf(90_000, 100_000, 500)).toBe(500)
    expect(wantedOf(0, 0, 500)).toBe(32)
  })
})
