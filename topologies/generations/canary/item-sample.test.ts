import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { topicEpochKey } from '../../../schemas/catalog-event.ts'
import { asPartition } from '../../../schemas/ids.ts'
import { EmbeddedEventLog } from '../../embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../../embedded/environment.ts'
import { sampleItems } from './item-sample.ts'
import { seededRandom } from './seeded-random.ts'

const partitions = 3
let directory: string
let environment: EmbeddedEnvironment
let log: EmbeddedEventLog

beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-sample-'))
  environment = await EmbeddedEnvironment.open({ directory, clock: Date.now })
  log = new EmbeddedEventLog(environment)
})

afterAll(async () => {
  await log.close()
  await environment.close()
  await rm(directory, { recursive: true })
})

/** A marker in each partition, then items in turn. */
async function catalogue(topic: string, count: number): Promise<void> {
  const forEver = { compacted: true, retentionMs: null, minCompactionLagMs: 0, tombstoneRetentionMs: 0 }
  await log.ensureTopic({ name: topic, partitions, ...forEver })
  const value = Buffer.from('x')
  const at = (i: number) => asPartition(i % partitions)
  await log.append(topic, [
    ...Array.from({ length: partitions }, (_, i) => ({ partition: at(i), key: Buffer.from(topicEpochKey), value })),
    ...Array.from({ length: count }, (_, i) => ({ partition: at(i), key: Buffer.from(`item-${i}`), value })),
  ])
}

function drawn(topic: string, count: number, seed: number) {
  return sampleItems(log, { topic, count, random: seededRandom(seed), signal: new AbortController().signal })
}

test('a small catalogue is drawn whole, without its markers and deleted items', async () => {
  await catalogue('small', 5)
  await log.append('small', [{ partition: asPartition(0), key: Buffer.from('deleted'), value: null }])
  expect((await drawn('small', 100, 1)).toSorted()).toEqual(['item-0', 'item-1', 'item-2', 'item-3', 'item-4'])
})

test('of a large one about as many as asked for, from all over it, others with another seed', async () => {
  await catalogue('large', 3_000)
  const items = await drawn('large', 60, 1)
  expect(new Set(items).size).toBe(items.length)
  expect(items.length).toBeGreaterThan(40)
  expect(items.length).toBeLessThanOrEqual(60)
  const numbers = items.map(item => Number(item.slice('item-'.length)))
  expect(Math.max(...numbers) - Math.min(...numbers)).toBeGreaterThan(1_000)
  expect(await drawn('large', 60, 1)).toEqual(items)
  expect(await drawn('large', 60, 2)).not.toEqual(items)
})

test('an empty catalogue has none', async () => {
  await log.ensureTopic({
    name: 'empty',
    partitions,
    compacted: true,
    retentionMs: null,
    minCompactionLagMs: 0,
    tombstoneRetentionMs: 0,
  })
  expect(await drawn('empty', 10, 1)).toEqual([])
})
