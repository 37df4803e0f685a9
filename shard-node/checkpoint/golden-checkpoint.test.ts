import { cp, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { asPartition, parseItemId } from '../../schemas/ids.ts'
import type { LogReader } from '../../topologies/event-log.ts'
import { ShardFiles } from '../files/shard-files.ts'
import { axis, goldenChairs, goldenDims, goldenTuning } from '../testing/golden-content.ts'
import { acceptanceOf, generation, ShardOnLog } from '../testing/shard-on-log.ts'
import { CheckpointDirectory } from './checkpoint-directory.ts'
import { checkpointFormat } from './manifest.ts'
import { positionOf, type RestoredShard, restoreShard } from './restore.ts'
import { openContent, type ShardContent } from './shard-content.ts'

const golden = fileURLToPath(new URL('../golden', import.meta.url))
const identity = { generation, acceptance: acceptanceOf(goldenDims), partitions: [asPartition(0), asPartition(1)] }
const idle: LogReader = {
  poll: async () => [],
  assignment: () => ({ epoch: 1, partitions: [] }),
  pause: () => undefined,
  resume: () => undefined,
  position: () => {
    throw new Error('nothing is assigned')
  },
  commit: async () => undefined,
  close: async () => undefined,
}
let path: string
const alarms: string[] = []

beforeEach(async () => {
  path = await mkdtemp(join(tmpdir(), 'freshet-golden-'))
  alarms.length = 0
})
afterEach(() => rm(path, { recursive: true }))

async function restoreGolden(): Promise<RestoredShard<ShardContent>> {
  const directory = new CheckpointDirectory(new ShardFiles(path))
  const onAlarm = ({ code }: { readonly code: string }): void => {
    alarms.push(code)
  }
  return restoreShard({
    identity,
    directory,
    seed: null,
    nowMs: 1_000_000,
    tombstoneRetentionMs: 1,
    openReader: async () => idle,
    load: manifest =>
      openContent(manifest, { identity, directory, tuning: goldenTuning.index, onAlarm, onFailure: onAlarm }),
    onAlarm,
  })
}

test('every format that this version claims to read has a golden checkpoint', async () => {
  expect(await readdir(golden)).toContain(`checkpoint-${checkpointFormat}`)
})

test('the golden checkpoint opens and says what was written', async () => {
  await cp(join(golden, 'checkpoint-2'), path, { recursive: true })
  const { content, manifest } = await restoreGolden()
  const { items, index } = content
  // Another version of the graph library builds the graph anew, and says so; nothing else may be amiss.
  expect(alarms.filter(code => code !== 'data-format')).toEqual([])
  expect(items.counts).toEqual({ searchable: 3 + goldenChairs, pending: 1, failed: 1, deleted: 1, unknown: 1 })
  const { next, watermarks, refused } = positionOf(manifest!)
  expect([...next.values()].every(offset => offset > 1)).toBe(true)
  expect(watermarks.get(asPartition(1))?.offset).toBe(20)
  expect(refused).toMatchObject([{ itemId: 'refused', offset: 202, code: 'vector-not-unit' }])

  const [lamp, late, chair, early] = ['lamp', 'late', 'chair-0', 'early'].map(id => items.find(parseItemId(id))!)
  expect(items.attributesOf(lamp!.item)).toMatchObject({ price: 25.5, attributes: { colour: 'red', wood: true } })
  expect(items.objectsOf(lamp!.item)?.objects).toHaveLength(2)
  expect(items.find(parseItemId('sofa'))).toMatchObject({ objectsOffset: 2, failureOffset: 3, standing: 'searchable' })
  expect(items.find(parseItemId('pending-😀'))?.attributesOffset).toBe(7)
  expect(items.failureOf(items.find(parseItemId('failed'))!.item)).toMatchObject({ retryable: true, attempts: 1 })

  const search = (at: number, k: number) =>
    index.search({ vector: axis(at), k, exact: false, allowed: null, exclude: -1 })
  expect((await search(1, 1)).hits).toEqual([{ item: lamp!.item, object: 1, score: 1 }])
  expect((await search(5, 1)).hits).toEqual([{ item: late!.item, object: 0, score: 1 }])
  expect((await search(6, 1)).hits).toEqual([{ item: chair!.item, object: 0, score: 1 }])
  expect((await search(0, 200)).hits).toHaveLength(3 + goldenChairs)
  expect(early!.standing).toBe('unknown')
  expect(index.statistics()).toMatchObject({ rows: 4 + goldenChairs, graphs: 1 })
  const lampsOnly = await items.allowed({ category: ['lamp'] })
  expect(lampsOnly.count).toBe(1)
  await index.close()
  await items.close()
})

test('the golden checkpoint of the former format is refused with the reason, and the shard rebuilt from the log', async () => {
  const shard = await ShardOnLog.create(goldenDims)
  try {
    await cp(join(golden, 'checkpoint-1'), shard.checkpointDirectory, { recursive: true })
    await shard.open()
    expect(shard.alarms.map(({ code, message }) => [code, message])).toEqual([
      ['checkpoint-too-old', 'the checkpoint has format 1, this version reads 2'],
    ])
    await shard.node.checkpoint()
    expect((await readdir(shard.checkpointDirectory)).filter(name => /^(items|rows|graph)-1$/.test(name))).toEqual([])
  } finally {
    await shard.dispose()
  }
})
