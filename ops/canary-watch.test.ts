import { readFileSync } from 'node:fs'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { FreshetError } from '../schemas/errors.ts'
import type { ItemId } from '../schemas/ids.ts'
import type { ShardReplica } from '../schemas/shard-api.ts'
import { CanaryWatch } from './canary-watch.ts'
import { openTelemetry, type Telemetry } from './telemetry/telemetry.ts'
import { parsePrometheusPage, sampleOf } from './telemetry/testing/prometheus-page.ts'
import { CanaryWorld } from './testing/canary-world.ts'
import { FeatureModel, smoothPicture } from './testing/feature-model.ts'

const ids = Array.from({ length: 60 }, (_, i) => `item-${i}` as ItemId)
let world: CanaryWorld
let telemetry: Telemetry

beforeAll(async () => {
  world = await CanaryWorld.create(
    ids.map((itemId, i) => ({ itemId, category: 'chair', picture: smoothPicture(i + 1) })),
  )
  await world.build('g1', new FeatureModel('v1', 64))
  await world.build('g2', new FeatureModel('v2', 96))
})

afterAll(() => world.close())

beforeEach(async () => {
  telemetry = await openTelemetry({ role: 'gateway', environment: {}, log: pino({ level: 'silent' }) })
})

afterEach(() => telemetry.close())

/** The first replica of g2 is another one than it should be; both generations have queries. */
function watch(change: (replica: ShardReplica) => Partial<ShardReplica> = () => ({}), everyMs = 0) {
  const ports = world.ports()
  const troubles: FreshetError[] = []
  const [bad] = world.generations[1]!.nodes
  const changed = Object.assign(bindAll(bad!), change(bad!))
  const watching = new CanaryWatch({
    ports: {
      ...ports,
      clock: () => 5_000,
      replicas: () => ports.replicas().map(replica => (replica === bad ? changed : replica)),
      routing: () => ports.routing().map(route => ({ ...route, share: 0.5 })),
    },
    itemIds: async () => ids,
    everyMs,
    meter: telemetry.meter,
    onTrouble: error => troubles.push(error),
  })
  return { watching, troubles }
}

function bindAll(replica: ShardReplica): ShardReplica {
  const { shard, generation, partitions } = replica
  return {
    shard,
    replica: replica.replica,
    generation,
    partitions,
    search: (request, signal) => replica.search(request, signal),
    registers: itemId => replica.registers(itemId),
    objectVector: (itemId, object) => replica.objectVector(itemId, object),
    status: () => replica.status(),
    changed: (itemId, signal) => replica.changed(itemId, signal),
  }
}

const told = async () => parsePrometheusPage(await telemetry.metricsText())
const bad = { generation: 'g2', shard: '0', replica: 'g2-0-a' }
const good = { generation: 'g2', shard: '1', replica: 'g2-1-a' }

test('every replica of every generation is probed, and all is well', async () => {
  const { watching } = watch()
  await watching.probe()
  const page = await told()
  for (const generation of ['g1', 'g2'])
    for (const shard of ['0', '1']) {
      const labels = { generation, shard, replica: `${generation}-${shard}-a` }
      expect(sampleOf(page, 'freshet_probe_failed', labels)).toBe(0)
      expect(sampleOf(page, 'freshet_probe_self_first', labels)).toBe(1)
      expect(sampleOf(page, 'freshet_probe_recall', labels)).toBeGreaterThan(0.99)
      expect(sampleOf(page, 'freshet_probe_norm_deviation', labels)).toBeLessThan(0.01)
      expect(sampleOf(page, 'freshet_probe_wrong_dims', labels)).toBe(0)
    }
  expect(sampleOf(page, 'freshet_probe_recall_divergence', { generation: 'g2' })).toBeLessThan(0.01)
  expect(sampleOf(page, 'freshet_probe_timestamp_seconds', {})).toBe(5)
  for (const document of ['./alerts.yaml', '../README.md']) {
    const text = readFileSync(new URL(document, import.meta.url), 'utf8')
    const named = text.match(/\bfreshet_probe_[a-z_]+/g) ?? []
    expect(named.length, document).toBeGreaterThan(5)
    expect(
      named.filter(name => !page.has(name)),
      document,
    ).toEqual([])
  }
})

test('an index that misses neighbours is told, and that its generation finds less than the other one', async () => {
  const { watching } = watch(replica => ({
    search: async (request, signal) => {
      const answer = await replica.search(request, signal)
      return request.exact ? answer : { ...answer, hits: answer.hits.slice(5) }
    },
  }))
  await watching.probe()
  const page = await told()
  expect(sampleOf(page, 'freshet_probe_recall', bad)).toBeCloseTo(0.5)
  expect(sampleOf(page, 'freshet_probe_self_first', bad)).toBe(0)
  expect(sampleOf(page, 'freshet_probe_recall', good)).toBeGreaterThan(0.99)
  expect(sampleOf(page, 'freshet_probe_recall_divergence', { generation: 'g2' })).toBeCloseTo(0.25, 1)
  expect(sampleOf(page, 'freshet_probe_recall_divergence', { generation: 'g1' })).toBe(0)
})

test('vectors that are not of unit length, or of another dimension, are told', async () => {
  const { watching } = watch(replica => ({
    objectVector: async (itemId, object) => {
      const vector = await replica.objectVector(itemId, object)
      if (vector === null) return null
      return itemId.endsWith('1') ? vector.slice(0, 64) : vector.map(value => 1.5 * value)
    },
  }))
  await watching.probe()
  const page = await told()
  expect(sampleOf(page, 'freshet_probe_norm_deviation', bad)).toBeCloseTo(0.5, 2)
  expect(sampleOf(page, 'freshet_probe_wrong_dims', bad)).toBeGreaterThan(0)
  expect(sampleOf(page, 'freshet_probe_wrong_dims', good)).toBe(0)
})

test('a replica that says it is ready and answers no search is told; the others are probed', async () => {
  const refusing = async (): Promise<never> => {
    throw new FreshetError('replica-unavailable', 'no')
  }
  const { watching } = watch(() => ({ search: refusing }))
  await watching.probe()
  const page = await told()
  expect(sampleOf(page, 'freshet_probe_failed', bad)).toBe(1)
  expect(sampleOf(page, 'freshet_probe_failed', good)).toBe(0)
})

test('rounds follow each other until it is stopped, and ask about other items', async () => {
  const asked: ItemId[] = []
  const { watching } = watch(
    replica => ({
      objectVector: async (itemId, object) => {
        asked.push(itemId)
        return replica.objectVector(itemId, object)
      },
    }),
    1,
  )
  watching.start()
  await expect.poll(() => new Set(asked).size, { timeout: 20_000 }).toBeGreaterThan(15)
  await watching.stop()
  const { length } = asked
  await watching.stop()
  expect(asked).toHaveLength(length)
})

test('a replica that hangs does not keep the process from ending', async () => {
  let isAsked = false
  const hanging = (): Promise<never> => {
    isAsked = true
    return new Promise(() => undefined)
  }
  const { watching } = watch(() => ({ objectVector: hanging }), 1)
  watching.start()
  await expect.poll(() => isAsked).toBe(true)
  await watching.stop()
})

test('that no items can be drawn is told once', async () => {
  const ports = world.ports()
  const troubles: FreshetError[] = []
  let draws = 0
  const watching = new CanaryWatch({
    ports,
    itemIds: async () => {
      draws++
      throw new FreshetError('log-unavailable', 'the log is away')
    },
    everyMs: 1,
    meter: telemetry.meter,
    onTrouble: error => troubles.push(error),
  })
  watching.start()
  await expect.poll(() => draws).toBeGreaterThan(3)
  await watching.stop()
  expect(troubles.map(({ code }) => code)).toEqual(['log-unavailable'])
})
