import { array, assert, constantFrom, integer, property, record } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CompactionSimulation, rowScale } from '../testing/compaction-simulation.ts'
import {
  type CompactionSettings,
  type CompactionStep,
  planCompaction,
  type SegmentSize,
  standardCompaction,
} from './compaction-plan.ts'

const settings = standardCompaction
const logRows = 16_384

function segment(id: number, rows: number, rest: Partial<SegmentSize> = {}): SegmentSize {
  return { id, order: 'item', rows, garbage: 0, hasGraph: rows >= settings.graphRows, ...rest }
}

function logSegment(id: number, rest: Partial<SegmentSize> = {}): SegmentSize {
  return segment(id, logRows, { order: 'log', ...rest })
}

describe('a step', () => {
  test('nothing to do without segments, with fewer log segments than are worth a merge, with segments of falling size', () => {
    expect(planCompaction([], settings)).toBeNull()
    expect(planCompaction([segment(1, 200_000), logSegment(2), logSegment(3)], settings)).toBeNull()
    expect(planCompaction([segment(1, 900_000), segment(2, 200_000), segment(3, 50_000)], settings)).toBeNull()
  })

  test('all log segments are merged, into a graph when they are rows enough', () => {
    const logs = [logSegment(7), logSegment(8), logSegment(9)]
    expect(planCompaction([segment(1, 900_000), ...logs], settings)).toEqual({
      kind: 'merge',
      ids: [7, 8, 9],
      graph: true,
      isUrgent: false,
    })
    const small = logs.map(each => ({ ...each, rows: 1_000 }))
    expect(planCompaction(small, settings)).toMatchObject({ kind: 'merge', graph: false })
    expect(planCompaction(logs, { ...settings, graphRows: Number.POSITIVE_INFINITY })).toMatchObject({ graph: false })
  })

  test('a log merge takes along every segment that would not be three times as large as what is below it', () => {
    const segments = [segment(1, 900_000), segment(2, 140_000), logSegment(7), logSegment(8), logSegment(9)]
    expect(planCompaction(segments, settings)).toMatchObject({ ids: [2, 7, 8, 9] })
  })

  test('segments that are all garbage are dropped before anything else', () => {
    const segments = [
      logSegment(1),
      logSegment(2, { garbage: logRows }),
      logSegment(3),
      logSegment(4),
      segment(5, 9, { garbage: 9 }),
    ]
    expect(planCompaction(segments, settings)).toEqual({ kind: 'drop', ids: [2, 5] })
  })

  test('a segment with too much garbage is rewritten together with the smaller ones', () => {
    const wasteful = segment(2, 200_000, { garbage: 30_001 })
    const segments = [segment(1, 900_000), wasteful, logSegment(3)]
    expect(planCompaction(segments, settings)).toEqual({ kind: 'merge', ids: [2, 3], graph: true, isUrgent: false })
    expect(planCompaction([segment(1, 900), segment(2, 100, { garbage: 90 })], settings)).toBeNull()
  })

  test('a segment that lost its graph is built again', () => {
    const segments = [segment(1, 900_000), segment(2, 100_000, { hasGraph: false })]
    expect(planCompaction(segments, settings)).toEqual({ kind: 'merge', ids: [2], graph: true, isUrgent: false })
  })

  test('when there is too much to scan, log segments are merged alone and at once; what else is wanted waits', () => {
    const logs = [4, 5, 6, 7, 8].map(id => logSegment(id))
    const wasteful = segment(1, 200_000, { garbage: 100_000 })
    expect(planCompaction([wasteful, ...logs.slice(1)], settings)).toMatchObject({ ids: [1, 5, 6, 7, 8] })
    expect(planCompaction([wasteful, ...logs], settings)).toEqual({
      kind: 'merge',
      ids: [4, 5, 6, 7, 8],
      graph: true,
      isUrgent: true,
    })
    const compressed = { ...settings, graphRows: Number.POSITIVE_INFINITY }
    expect(planCompaction([wasteful, ...logs], compressed)).toMatchObject({ ids: [1, 4, 5, 6, 7, 8], isUrgent: false })
  })

  test('a merge reaches up until there are no more graphs than allowed', () => {
    const segments = [
      segment(1, 1_500_000),
      segment(2, 200_000),
      segment(3, 60_000),
      logSegment(4),
      logSegment(5),
      logSegment(6),
    ]
    const tight = { ...settings, graphs: 2, sizeRatio: 1 }
    expect(planCompaction(segments, tight)).toMatchObject({ ids: [2, 3, 4, 5, 6] })
  })

  test('no segment is made larger than allowed, nor rewritten for nothing because of that', () => {
    const wasteful = [segment(1, 1_790_000, { garbage: 500_000 }), segment(2, 1_000_000), logSegment(3)]
    expect(planCompaction(wasteful, settings)).toMatchObject({ ids: [1, 3] })
    const full = [segment(1, 1_790_000), segment(2, 1_000_000), logSegment(3), logSegment(4), logSegment(5)]
    expect(planCompaction(full, settings)).toMatchObject({ ids: [3, 4, 5] })
  })

  test('a full compaction ends with one segment without garbage', () => {
    const force: CompactionSettings = { ...settings, mode: 'whole' }
    expect(planCompaction([segment(1, 900_000), logSegment(2)], force)).toMatchObject({ ids: [1, 2], graph: true })
    expect(planCompaction([logSegment(2)], force)).toMatchObject({ ids: [2] })
    expect(planCompaction([segment(1, 900_000, { garbage: 1 })], force)).toMatchObject({ ids: [1] })
    expect(planCompaction([segment(1, 900_000)], force)).toBeNull()
    expect(planCompaction([], force)).toBeNull()
  })
})

describe('while it is calm', () => {
  const calm: CompactionSettings = { ...settings, mode: 'calm' }

  test('rows to scan, in other graphs, or garbage of a twentieth are merged; less is left', () => {
    const merge = { kind: 'merge', graph: true, isUrgent: false }
    expect(planCompaction([segment(1, 200_000), logSegment(2)], calm)).toEqual({ ...merge, ids: [1, 2] })
    expect(planCompaction([segment(1, 200_000), segment(2, 40_000)], calm)).toEqual({ ...merge, ids: [1, 2] })
    expect(planCompaction([segment(1, 200_000, { garbage: 11_000 })], calm)).toEqual({ ...merge, ids: [1] })
    expect(planCompaction([segment(1, 350_000), logSegment(2)], calm)).toBeNull()
    expect(planCompaction([segment(1, 200_000, { garbage: 9_000 })], calm)).toBeNull()
  })

  test('a much larger segment is left as it is', () => {
    const segments = [segment(1, 1_000_000), segment(2, 30_000), logSegment(3)]
    expect(planCompaction(segments, calm)).toMatchObject({ ids: [2, 3], graph: true })
  })

  test('rows that would be scanned afterwards too are left, and so is little garbage', () => {
    expect(planCompaction([logSegment(1, { rows: 9_000 }), logSegment(2, { rows: 800 })], calm)).toBeNull()
    expect(planCompaction([logSegment(1, { rows: 3_000, garbage: 1_000 })], calm)).toBeNull()
    expect(planCompaction([logSegment(1, { rows: 3_000, garbage: 1_100 })], calm)).toMatchObject({ graph: false })
  })

  test('whatever the segments: each step leaves less to do, and there is an end', () => {
    const some = array(
      record({
        order: constantFrom('log' as const, 'item' as const),
        rows: integer({ min: 1, max: calm.segmentRows }),
        garbageShare: integer({ min: 0, max: 100 }),
        hasGraph: constantFrom(true, false),
      }),
      { maxLength: 8 },
    )
    const law = property(some, shapes => {
      let segments: SegmentSize[] = shapes.map(({ garbageShare, ...rest }, id) => ({
        ...rest,
        id,
        garbage: Math.floor((rest.rows * garbageShare) / 100),
      }))
      for (let steps = 0; ; steps++) {
        const step = planCompaction(segments, calm)
        if (step === null) break
        expect(steps).toBeLessThan(20)
        segments = afterStep(segments, step, 100 + steps)
      }
      expect(segments.every(({ rows }) => rows <= calm.segmentRows)).toBe(true)
    })
    assert(law)
  })

  function afterStep(segments: readonly SegmentSize[], step: CompactionStep, id: number): SegmentSize[] {
    const kept = segments.filter(each => !step.ids.includes(each.id))
    if (step.kind === 'drop') return kept
    const merged = segments.filter(each => step.ids.includes(each.id))
    const rows = merged.reduce((sum, each) => sum + each.rows - each.garbage, 0)
    return [...kept, segment(id, rows, { hasGraph: step.graph })]
  }
})

const scaled: CompactionSettings = {
  ...settings,
  garbageRows: settings.garbageRows * rowScale,
  graphRows: settings.graphRows * rowScale,
  segmentRows: settings.segmentRows * rowScale,
}

/** Builder speed 8: a thousand rows put a second against 8,000 added to graphs, as measured. */
function simulation(seed: number, builderSpeed: number, segmentRows = scaled.segmentRows): CompactionSimulation {
  return new CompactionSimulation({
    seed,
    builderSpeed,
    logRows: logRows * rowScale,
    settings: { ...scaled, segmentRows },
  })
}

function filled(items: number, builderSpeed: number): CompactionSimulation {
  const shard = simulation(7, builderSpeed)
  for (let item = 0; item < items; item++) shard.put(item)
  shard.settle()
  shard.startMeasuring()
  return shard
}

const [fewItems, manyItems] = [200_000 * rowScale, 1_000_000 * rowScale].map(Math.round) as [number, number]

describe('simulated', () => {
  test.each([4, 8])('ten minutes of new items at 1/%d of the builder speed', builderSpeed => {
    const shard = simulation(1, builderSpeed)
    for (let item = 0; item < 600_000 * rowScale; item++) shard.put(item)
    const { measures } = shard
    expect(measures.graphs).toBeLessThanOrEqual(3)
    expect(measures.rowsBuilt / measures.puts).toBeLessThan(3.5)
    expect(measures.scannedRows).toBeLessThanOrEqual((builderSpeed === 4 ? 180_000 : 100_000) * rowScale)
  })

  const orders: Readonly<Record<string, (put: number, items: number, random: () => number) => number>> = {
    random: (_, items, random) => Math.floor(random() * items),
    'the same': (put, items) => put % items,
  }
  test.each(
    Object.keys(orders).flatMap(order =>
      [6, 8, 16].flatMap(speed => [fewItems, manyItems].map(items => [order, speed, items] as const)),
    ),
  )(
    'in %s order, at 1/%d of the builder speed, %d items replaced three times fit on 2.2 times their disk',
    (order, speed, items) => {
      const shard = filled(items, speed)
      for (let put = 0; put < 3 * items; put++) shard.put(orders[order]!(put, items, shard.random))
      const { measures } = shard
      expect(measures.diskRatio).toBeLessThanOrEqual(2.2)
      expect(measures.rowsBuilt / measures.puts).toBeLessThan(10)
      expect(measures.graphs).toBeLessThanOrEqual(3)
    },
  )

  test('half of the items deleted: their space comes back without being asked', () => {
    const shard = filled(fewItems, 8)
    for (let item = 0; item < fewItems; item += 2) shard.remove(item)
    shard.settle()
    const rows = shard.sizes.reduce((sum, each) => sum + each.rows, 0)
    expect(rows).toBeLessThanOrEqual(shard.liveRows * 1.12)
  })

  const load = record({
    seed: integer(),
    builderSpeed: constantFrom(0.5, 1, 3, 8, 30),
    segmentRows: constantFrom(scaled.segmentRows, fewItems),
    phases: array(
      record({
        items: integer({ min: 1, max: manyItems }),
        puts: integer({ min: 0, max: 2 * manyItems }),
        removals: integer({ min: 0, max: 2_000 }),
      }),
      { minLength: 1, maxLength: 4 },
    ),
  })

  test('whatever the load: never more than six graphs, and at rest hardly any garbage', () => {
    const law = property(load, ({ seed, builderSpeed, segmentRows, phases }) => {
      const shard = simulation(seed, builderSpeed, segmentRows)
      for (const { items, puts, removals } of phases) {
        for (let put = 0; put < puts; put++) shard.put(Math.floor(shard.random() * items))
        for (let item = 0; item < removals; item++) shard.remove(item)
      }
      shard.settle()
      if (segmentRows === scaled.segmentRows) expect(shard.measures.graphs).toBeLessThanOrEqual(settings.graphs)
      for (const { rows, garbage } of shard.sizes) {
        expect(garbage).toBeLessThan(Math.max(0.15 * rows, scaled.garbageRows) + 1)
        expect(rows).toBeLessThanOrEqual(segmentRows)
      }
      expect(shard.sizes.filter(each => each.order === 'log').length).toBeLessThan(settings.logSegments)
    })
    assert(law, { numRuns: 60 })
  })
})
