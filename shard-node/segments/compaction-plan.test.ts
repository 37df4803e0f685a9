import { array, assert, constantFrom, integer, property, record } from 'fast-check'
import { describe, expect, test } from 'vitest'
import { CompactionSimulation, rowScale } from '../testing/compaction-simulation.ts'
import { type CompactionSettings, type PartSize, planCompaction, standardCompaction } from './compaction-plan.ts'

const settings = standardCompaction
const logRows = 16_384

function part(id: number, rows: number, rest: Partial<PartSize> = {}): PartSize {
  return { id, order: 'item', rows, garbage: 0, hasGraph: rows >= settings.graphRows, ...rest }
}

function logPart(id: number, rest: Partial<PartSize> = {}): PartSize {
  return part(id, logRows, { order: 'log', ...rest })
}

describe('a step', () => {
  test('nothing to do without parts, with fewer log parts than are worth a merge, with parts of falling size', () => {
    expect(planCompaction([], settings)).toBeNull()
    expect(planCompaction([part(1, 200_000), logPart(2), logPart(3)], settings)).toBeNull()
    expect(planCompaction([part(1, 900_000), part(2, 200_000), part(3, 50_000)], settings)).toBeNull()
  })

  test('all log parts are merged, into a graph when they are rows enough', () => {
    const logs = [logPart(7), logPart(8), logPart(9)]
    expect(planCompaction([part(1, 900_000), ...logs], settings)).toEqual({
      kind: 'merge',
      ids: [7, 8, 9],
      graph: true,
    })
    const small = logs.map(each => ({ ...each, rows: 1_000 }))
    expect(planCompaction(small, settings)).toMatchObject({ kind: 'merge', graph: false })
    expect(planCompaction(logs, { ...settings, graphRows: Number.POSITIVE_INFINITY })).toMatchObject({ graph: false })
  })

  test('a log merge takes along every part that would not be three times as large as what is below it', () => {
    const parts = [part(1, 900_000), part(2, 140_000), logPart(7), logPart(8), logPart(9)]
    expect(planCompaction(parts, settings)).toMatchObject({ ids: [2, 7, 8, 9] })
  })

  test('parts that are all garbage are dropped before anything else', () => {
    const parts = [logPart(1), logPart(2, { garbage: logRows }), logPart(3), logPart(4), part(5, 9, { garbage: 9 })]
    expect(planCompaction(parts, settings)).toEqual({ kind: 'drop', ids: [2, 5] })
  })

  test('a part with too much garbage is rewritten together with the smaller ones', () => {
    const wasteful = part(2, 200_000, { garbage: 30_001 })
    const parts = [part(1, 900_000), wasteful, logPart(3)]
    expect(planCompaction(parts, settings)).toEqual({ kind: 'merge', ids: [2, 3], graph: true })
    expect(planCompaction([part(1, 900), part(2, 100, { garbage: 90 })], settings)).toBeNull()
  })

  test('a part that lost its graph is built again', () => {
    const parts = [part(1, 900_000), part(2, 100_000, { hasGraph: false })]
    expect(planCompaction(parts, settings)).toEqual({ kind: 'merge', ids: [2], graph: true })
  })

  test('a merge reaches up until there are no more graphs than allowed', () => {
    const parts = [part(1, 1_500_000), part(2, 200_000), part(3, 60_000), logPart(4), logPart(5), logPart(6)]
    const tight = { ...settings, graphs: 2, sizeRatio: 1 }
    expect(planCompaction(parts, tight)).toMatchObject({ ids: [2, 3, 4, 5, 6] })
  })

  test('no part is made larger than allowed, nor rewritten for nothing because of that', () => {
    const wasteful = [part(1, 1_790_000, { garbage: 500_000 }), part(2, 1_000_000), logPart(3)]
    expect(planCompaction(wasteful, settings)).toMatchObject({ ids: [1, 3] })
    const full = [part(1, 1_790_000), part(2, 1_000_000), logPart(3), logPart(4), logPart(5)]
    expect(planCompaction(full, settings)).toMatchObject({ ids: [3, 4, 5] })
  })

  test('a full compaction ends with one part without garbage', () => {
    const force = { ...settings, force: true }
    expect(planCompaction([part(1, 900_000), logPart(2)], force)).toMatchObject({ ids: [1, 2], graph: true })
    expect(planCompaction([logPart(2)], force)).toMatchObject({ ids: [2] })
    expect(planCompaction([part(1, 900_000, { garbage: 1 })], force)).toMatchObject({ ids: [1] })
    expect(planCompaction([part(1, 900_000)], force)).toBeNull()
    expect(planCompaction([], force)).toBeNull()
  })
})

const scaled: CompactionSettings = {
  ...settings,
  garbageRows: settings.garbageRows * rowScale,
  graphRows: settings.graphRows * rowScale,
  partRows: settings.partRows * rowScale,
}

/** Builder speed 8: a thousand rows put a second against 8,000 added to graphs, as measured. */
function simulation(seed: number, builderSpeed: number, partRows = scaled.partRows): CompactionSimulation {
  return new CompactionSimulation({
    seed,
    builderSpeed,
    logRows: logRows * rowScale,
    settings: { ...scaled, partRows },
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
    partRows: constantFrom(scaled.partRows, fewItems),
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
    const law = property(load, ({ seed, builderSpeed, partRows, phases }) => {
      const shard = simulation(seed, builderSpeed, partRows)
      for (const { items, puts, removals } of phases) {
        for (let put = 0; put < puts; put++) shard.put(Math.floor(shard.random() * items))
        for (let item = 0; item < removals; item++) shard.remove(item)
      }
      shard.settle()
      if (partRows === scaled.partRows) expect(shard.measures.graphs).toBeLessThanOrEqual(settings.graphs)
      for (const { rows, garbage } of shard.sizes) {
        expect(garbage).toBeLessThan(Math.max(0.15 * rows, scaled.garbageRows) + 1)
        expect(rows).toBeLessThanOrEqual(partRows)
      }
      expect(shard.sizes.filter(each => each.order === 'log').length).toBeLessThan(settings.logParts)
    })
    assert(law, { numRuns: 60 })
  })
})
