import { afterEach, expect, test } from 'vitest'
import type { RegisterMutation } from '../schemas/mutation.ts'
import { copyAsCrashed } from './testing/crash-images.ts'
import { ModelledShard } from './testing/modelled-shard.ts'
import { compareExact, compareWhole } from './testing/shard-comparison.ts'
import { attributesPut, itemRemoved, objectsPut } from './testing/shard-on-log.ts'
import { tinyTuning } from './testing/tiny-tuning.ts'

const day = 24 * 3_600_000
const shortMs = 10_000
let shard: ModelledShard
let directory: string

afterEach(() => shard.dispose())

async function openShard(tombstoneRetentionMs: number): Promise<void> {
  const tuning = { ...tinyTuning, tombstoneRetentionMs }
  shard = await ModelledShard.create({ seed: 91, dims: 16, items: 300, tuning })
  directory = shard.newDirectory()
  await shard.serve(await shard.open(directory))
}

/** Goes on from the files as they lie now, as after a crash. */
async function crash(): Promise<void> {
  const left = directory
  directory = shard.newDirectory()
  copyAsCrashed(left, directory)
  await shard.close(shard.node)
  await shard.serve(await shard.open(directory))
}

async function fill(): Promise<void> {
  await shard.writeEvents(400)
  await shard.write(shard.workload.drain())
  await shard.writeWatermark()
  await shard.caughtUp()
}

/** Removals and their numbers may be forgotten, so only what can be found is compared. */
async function expectFound(): Promise<void> {
  expect((await shard.node.status()).digests).toEqual(shard.model.digests())
  for (let i = 0; i < 8; i++) await compareExact(shard, { vector: shard.workload.query(), k: 400 }, shard.node)
}

function put(itemId: string, version: number): RegisterMutation[] {
  const vectors = [shard.workload.query(), shard.workload.query()]
  return [attributesPut(itemId, version), objectsPut(itemId, version, vectors)]
}

test('what is deleted, compacted away and restarted from files does not come back, nor with a late result', async () => {
  await openShard(7 * day)
  await fill()
  await shard.node.checkpoint()
  const removed = shard.workload.removeShare(0.7)
  await shard.write(removed)
  await shard.caughtUp()
  await shard.node.settled()
  expect((await shard.node.status()).tombstones).toBeLessThan(100)
  await crash()
  await compareWhole(shard, shard.node)
  await shard.node.checkpoint()
  await crash()
  await compareWhole(shard, shard.node)
  await shard.write(removed.flatMap(({ itemId, version }) => put(itemId, version.offset - 1)))
  await shard.caughtUp()
  await compareWhole(shard, shard.node)
  await crash()
  await compareWhole(shard, shard.node)
  expect([...shard.alarms, ...shard.failures]).toEqual([])
})

test('rows of items that are forgotten do not come back under items that are new', async () => {
  await openShard(shortMs)
  await fill()
  await shard.node.checkpoint()
  await shard.write(shard.workload.removeShare(0.5))
  await shard.writeWatermark()
  await shard.caughtUp()
  shard.storage.nowMs += 100 * shortMs
  await shard.write(put('new-0', 5_000))
  await shard.caughtUp()
  await shard.node.checkpoint()
  expect((await shard.node.status()).items.deleted).toBe(0)
  for (let item = 1; item < 200; item++) await shard.write(put(`new-${item}`, 5_000 + item))
  await shard.caughtUp()
  await expectFound()
  await crash()
  await expectFound()
  await shard.node.checkpoint()
  await crash()
  await expectFound()
  expect([...shard.alarms, ...shard.failures]).toEqual([])
})

test('a checkpoint older than the retention of tombstones is not believed: a removal it has not seen may be gone', async () => {
  await openShard(shortMs)
  await fill()
  const lamp = put('lamp', 5_000)
  await shard.write(lamp)
  await shard.caughtUp()
  await shard.close(shard.node)
  const removed = [itemRemoved('lamp', 5_001)]
  await shard.write(removed)
  await shard.removeFromLog([...lamp, ...removed])
  shard.storage.nowMs += shortMs + 1
  await shard.serve(await shard.open(directory))
  expect(shard.alarms.map(({ code }) => code)).toEqual(['checkpoint-too-old'])
  await expectFound()
})

test('a checkpoint ahead of its log, or behind what the log still holds, is not used, loudly', async () => {
  await openShard(7 * day)
  await fill()
  await shard.close(shard.node)
  const other = await ModelledShard.create({ seed: 92, dims: 16, items: 10, tuning: tinyTuning })
  try {
    await other.writeEvents(20)
    await other.serve(await other.open(directory))
    expect(other.alarms.map(({ code }) => code)).toEqual(['checkpoint-too-old'])
    await compareWhole(other, other.node)
    await other.close(other.node)
    await other.writeEvents(20)
    await other.removeAllFromLog()
    await other.writeEvents(20)
    other.alarms.length = 0
    await other.serve(await other.open(directory))
    expect(other.alarms.map(({ code }) => code)).toEqual(['checkpoint-too-old'])
    const rest = await ModelledShard.create({ seed: 93, dims: 16, items: 10, log: other.log })
    await rest.readLog()
    await compareWhole(rest, other.node)
    await rest.dispose()
  } finally {
    await other.dispose()
  }
})
