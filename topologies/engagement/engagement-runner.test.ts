import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { type Codecs, openCodecs, registerSchemas } from '../../schemas/avro/codec.ts'
import type { EngagementRecord } from '../../schemas/engagement.ts'
import { FreshetError } from '../../schemas/errors.ts'
import { asPartition } from '../../schemas/ids.ts'
import { engagementKey, engagementOf, engagementPartition, noEngagement } from '../../schemas/item-engagement.ts'
import { MemorySchemaDirectory } from '../../schemas/testing/memory-schema-directory.ts'
import { engagementTopic } from '../../schemas/topics.ts'
import { EmbeddedEventLog } from '../embedded/embedded-event-log.ts'
import { EmbeddedFeatureStore } from '../embedded/embedded-feature-store.ts'
import { TemporaryEnvironment } from '../embedded/testing/temporary-environment.ts'
import type { FeaturePart } from '../feature-store.ts'
import { EngagementRunner, type EngagementRunnerOptions } from './engagement-runner.ts'

const partitions = Array.from({ length: 4 }, (_, n) => asPartition(n))
const patience = { timeout: 10_000, interval: 20 }

let temporary: TemporaryEnvironment
let log: EmbeddedEventLog
let features: EmbeddedFeatureStore
let codecs: Codecs
let troubles: FreshetError[]
const running: EngagementRunner[] = []

beforeEach(async () => {
  temporary = await TemporaryEnvironment.create()
  const environment = await temporary.open()
  log = new EmbeddedEventLog(environment)
  features = new EmbeddedFeatureStore(environment)
  const schemas = new MemorySchemaDirectory()
  await registerSchemas(schemas)
  codecs = await openCodecs(schemas)
  troubles = []
  await log.ensureTopic({
    name: engagementTopic,
    partitions: partitions.length,
    compacted: false,
    retentionMs: null,
    minCompactionLagMs: 0,
    tombstoneRetentionMs: 0,
  })
})

afterEach(async () => {
  await Promise.all(running.splice(0).map(runner => runner.stop()))
  await log.close()
  await temporary.dispose()
})

function run(options: Partial<EngagementRunnerOptions> = {}, putParts = features.putParts.bind(features)) {
  const runner = new EngagementRunner(
    { log, codec: codecs.engagement, features: { putParts } },
    { partitions, onTrouble: error => troubles.push(error), flushMs: 10, ...options },
  )
  running.push(runner)
  runner.start()
  return runner
}

async function append(records: readonly EngagementRecord[]): Promise<void> {
  await log.append(
    engagementTopic,
    records.map(record => ({
      partition: engagementPartition(record.queryId, partitions.length),
      key: Buffer.from(record.queryId),
      value: codecs.engagement.encode(record),
    })),
  )
}

const shown = (queryId: string, ...itemIds: string[]): EngagementRecord => ({
  type: 'ResultsShown',
  queryId,
  generation: 'g1',
  atMs: 0,
  itemIds,
  session: queryId,
})
const clicked = (queryId: string, itemId: string): EngagementRecord => ({
  type: 'Engaged',
  queryId,
  itemId,
  action: 'click',
  position: 0,
  atMs: 0,
})
const stored = async (itemId: string) => (await features.readSums([engagementKey(itemId)]))[0]
const known = async (itemId: string) => engagementOf(await stored(itemId), temporary.now)

test('what is appended is in the store at once, summed over the partitions', async () => {
  run()
  const queries = Array.from({ length: 12 }, (_, n) => `query-${n}`)
  expect(new Set(queries.map(query => engagementPartition(query, partitions.length))).size).toBeGreaterThan(1)
  await append(queries.flatMap(query => [shown(query, 'sofa', 'lamp'), clicked(query, 'lamp')]))
  await expect.poll(async () => (await known('lamp')).clicks, patience).toBeCloseTo(12, 6)
  expect((await known('sofa')).looks).toBeCloseTo(12, 6)
  expect((await known('lamp')).looks).toBeCloseTo(6, 6)
  expect(await known('rug')).toEqual(noEngagement)
})

test('another one reads it again and comes to the same numbers', async () => {
  const first = run()
  await append([shown('a', 'lamp', 'sofa'), clicked('a', 'sofa'), shown('b', 'sofa'), clicked('b', 'sofa')])
  await expect.poll(async () => (await known('sofa')).clicks, patience).toBeCloseTo(2, 6)
  const numbers = await stored('sofa')
  await first.stop()
  const second = run()
  await expect.poll(() => second.status(), patience).toMatchObject({ current: 4, counts: { shown: 2, engaged: 2 } })
  await expect.poll(() => second.status().counts.written, patience).toBeGreaterThanOrEqual(2)
  expect(await stored('sofa')).toEqual(numbers)
})

test('numbers of a past that is not read to its end are not written', async () => {
  await append(Array.from({ length: 3_000 }, (_, n) => [shown(`q${n}`, 'lamp'), clicked(`q${n}`, 'lamp')]).flat())
  const seen: number[] = []
  const putParts = async (parts: readonly FeaturePart[], ttlMs: number): Promise<void> => {
    await features.putParts(parts, ttlMs)
    seen.push((await known('lamp')).clicks)
  }
  run({ partitions: [engagementPartition('q0', partitions.length)], flushMs: 0 }, putParts)
  await expect.poll(() => seen.length, patience).toBeGreaterThan(0)
  expect(new Set(seen.map(each => each.toFixed(3))).size).toBe(1)
  expect(seen[0]).toBeGreaterThan(100)
})

test('what the store has lost comes back by itself', async () => {
  run()
  await append([shown('a', 'lamp')])
  await expect.poll(async () => (await known('lamp')).looks, patience).toBeCloseTo(1, 6)
  await features.putParts([{ key: engagementKey('lamp'), part: String(engagementPartition('a', 4)), values: [0] }], 1e9)
  await expect.poll(async () => (await known('lamp')).looks, patience).toBeCloseTo(1, 6)
})

describe('trouble', () => {
  test('a store that is away is told once, waited for, and gets all that was counted meanwhile', async () => {
    let isAway = true
    const putParts = async (parts: readonly FeaturePart[], ttlMs: number): Promise<void> => {
      if (isAway) throw new FreshetError('feature-store-unavailable', 'away')
      await features.putParts(parts, ttlMs)
    }
    const runner = run({}, putParts)
    await append([shown('a', 'lamp')])
    await expect.poll(() => troubles.map(({ code }) => code), patience).toEqual(['feature-store-unavailable'])
    await append([clicked('a', 'lamp')])
    isAway = false
    await expect.poll(async () => (await known('lamp')).clicks, patience).toBeCloseTo(1, 6)
    expect(runner.status().trouble).toBeNull()
    expect(troubles).toHaveLength(1)
  })

  test('a topic that is not there yet is waited for', async () => {
    let isThere = false
    const openReader: EmbeddedEventLog['openReader'] = options =>
      isThere ? log.openReader(options) : Promise.reject(new FreshetError('topic-missing', 'there is none'))
    const runner = new EngagementRunner(
      { log: { openReader, offsets: topic => log.offsets(topic) }, codec: codecs.engagement, features },
      { partitions, onTrouble: error => troubles.push(error), flushMs: 10 },
    )
    running.push(runner)
    runner.start()
    await expect.poll(() => troubles.map(({ code }) => code), patience).toEqual(['topic-missing'])
    isThere = true
    await append([shown('a', 'lamp')])
    await expect.poll(async () => (await known('lamp')).looks, patience).toBeCloseTo(1, 6)
  })

  test('what is no record is passed over, and counted', async () => {
    const runner = run()
    const partition = asPartition(0)
    const values = [Buffer.from('no record'), codecs.engagement.encode(shown('a', 'lamp')).subarray(0, -3), null]
    await log.append(
      engagementTopic,
      values.map(value => ({ partition, key: null, value })),
    )
    await append([shown('a', 'lamp')])
    await expect.poll(async () => (await known('lamp')).looks, patience).toBeCloseTo(1, 6)
    expect(runner.status().counts.refused).toBe(2)
  })
})
