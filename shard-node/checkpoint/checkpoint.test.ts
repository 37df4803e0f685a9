import { cp, readdir, readFile, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { checkpointWithGraph, contentOf, fill, flipBit, smallSegments } from '../testing/checkpoint-content.ts'
import { type ClusteredVectors, clusteredVectors } from '../testing/clustered-vectors.ts'
import { attributesPut, itemRemoved, objectsPut, ShardOnLog } from '../testing/shard-on-log.ts'
import { decodeManifest, encodeManifest } from './manifest.ts'

const dims = 16
const days = 24 * 3_600_000
let shard: ShardOnLog
let vectors: ClusteredVectors

beforeEach(async () => {
  shard = await ShardOnLog.create(dims)
  vectors = clusteredVectors({ seed: 33, dims, clusters: 8, spread: 0.6 })
})
afterEach(() => shard.dispose())

/** Opens a second replica with an empty directory on the same log. */
async function freshReplay(): Promise<unknown> {
  const node = await shard.open({ directory: join(shard.directory, 'fresh') })
  const content = await contentOf(shard, node)
  await node.close()
  return content
}

test('a restart from the checkpoint and the rest of the log equals a replay of the whole log', async () => {
  await shard.open(smallSegments)
  await fill(shard, 1)
  await checkpointWithGraph(shard)
  await fill(shard, 151)
  const before = await contentOf(shard)
  await shard.node.close()
  await shard.append([
    attributesPut('late', 9_000),
    objectsPut('late', 9_000, [vectors.next(0)]),
    itemRemoved('item-4', 9_001),
  ])
  await shard.open()
  expect(shard.alarms).toEqual([])
  const restarted = await contentOf(shard)
  expect(restarted).toEqual(await freshReplay())
  expect(restarted).not.toEqual(before)
})

test('graph searches after a restart give what they gave before', async () => {
  await shard.open(smallSegments)
  await fill(shard, 1)
  await checkpointWithGraph(shard)
  const query = vectors.next(2)
  const before = await shard.search(query, { k: 5 })
  expect(before.plan).toBe('graph')
  await shard.node.close()
  await shard.open(smallSegments)
  expect(await shard.search(query, { k: 5 })).toEqual(before)
  // Another one may be built by now.
  expect((await shard.node.status()).storage.graphs).toBeGreaterThan(0)
})

test('a checkpoint follows a merge unasked, and what neither it nor the one before names goes', async () => {
  await shard.open({ tuning: { ...smallSegments.tuning, checkpointEveryMs: 3_600_000 } })
  await shard.apply(attributesPut('early', 1), objectsPut('early', 1, [vectors.next(0)]))
  await shard.node.checkpoint()
  await fill(shard, 1)
  const segmentsOf = async (manifest: string): Promise<string[]> => {
    const { segments } = decodeManifest(await readFile(join(shard.checkpointDirectory, manifest), 'utf8'))
    return segments.flatMap(({ rows, graph }) => (graph === null ? [rows.file] : [rows.file, graph.file]))
  }
  await vi.waitFor(async () => {
    await shard.node.settled()
    const newest = await segmentsOf('MANIFEST')
    expect(newest.some(file => file.startsWith('graph-'))).toBe(true)
    const present = (await readdir(shard.checkpointDirectory)).filter(name => /^(rows|graph)-/.test(name))
    expect(new Set(present)).toEqual(new Set([...newest, ...(await segmentsOf('MANIFEST.previous'))]))
  }, 10_000)
})

test('closing without a change writes no checkpoint', async () => {
  await shard.open()
  await fill(shard, 1)
  await shard.node.close()
  const written = await readdir(shard.checkpointDirectory)
  await shard.open()
  await shard.node.close()
  expect(await readdir(shard.checkpointDirectory)).toEqual(written)
})

test('a damaged newest checkpoint falls back to the one before and replays the rest', async () => {
  await shard.open()
  await fill(shard, 1)
  await shard.node.checkpoint()
  await shard.apply(attributesPut('later', 5_000), objectsPut('later', 5_000, [vectors.next(0)]))
  await shard.node.close()
  await flipBit(join(shard.checkpointDirectory, 'MANIFEST'), 0.5)
  await shard.open()
  expect(shard.alarms.map(({ code }) => code)).toEqual(['checkpoint-corrupt'])
  expect((await shard.node.status()).checkpoint.writtenAtMs).not.toBeNull()
  expect(await contentOf(shard)).toEqual(await freshReplay())
})

test('a checkpoint older than the retention of tombstones is refused, loudly, and the shard rebuilt', async () => {
  await shard.open()
  await fill(shard, 1)
  await shard.node.close()
  shard.nowMs += 8 * days
  await shard.open()
  expect(shard.alarms.map(({ code }) => code)).toEqual(['checkpoint-too-old'])
  expect(await contentOf(shard)).toEqual(await freshReplay())
})

test('a checkpoint ahead of its log is refused', async () => {
  await shard.open()
  await fill(shard, 1)
  await shard.node.close()
  const other = await ShardOnLog.create(dims)
  try {
    await cp(shard.checkpointDirectory, other.checkpointDirectory, { recursive: true })
    await other.open()
    expect(other.alarms.map(({ code }) => code)).toEqual(['checkpoint-too-old'])
    expect((await other.node.status()).rows).toBe(0)
  } finally {
    await other.dispose()
  }
})

test('a checkpoint of a later version of the program is an error; a former one is rebuilt, loudly', async () => {
  await shard.open()
  await fill(shard, 1)
  await shard.node.close()
  const path = join(shard.checkpointDirectory, 'MANIFEST')
  const manifest = decodeManifest(await readFile(path, 'utf8'))
  await writeFile(path, encodeManifest({ ...manifest, format: manifest.format + 1 }))
  await expect(shard.open()).rejects.toMatchObject({ code: 'data-format' })
  await writeFile(path, encodeManifest({ ...manifest, format: 1 }))
  await shard.open()
  expect(shard.alarms.map(({ code, message }) => [code, message])).toEqual([
    ['checkpoint-too-old', 'the checkpoint has format 1, this version reads 2'],
  ])
  expect(await contentOf(shard)).toEqual(await freshReplay())
})

test('a checkpoint of another model is an error, not a rebuild', async () => {
  await shard.open()
  await fill(shard, 1)
  await shard.node.close()
  const other = await ShardOnLog.create(8)
  try {
    await cp(shard.checkpointDirectory, other.checkpointDirectory, { recursive: true })
    await expect(other.open()).rejects.toMatchObject({ code: 'fingerprint-mismatch' })
  } finally {
    await other.dispose()
  }
})

test('an export taken while writes go on opens as a replica of its own', async () => {
  await shard.open()
  const writing = fill(shard, 1)
  const target = join(shard.directory, 'export')
  await shard.node.exportTo(target)
  await writing
  const node = await shard.open({ directory: target })
  expect(shard.alarms).toEqual([])
  expect(await contentOf(shard, node)).toEqual(await contentOf(shard))
  await node.close()
})

test('a snapshot seeds a replica with an empty directory, which then follows the log', async () => {
  await shard.open(smallSegments)
  await fill(shard, 1)
  await shard.node.settled()
  const seedDirectory = join(shard.directory, 'seed')
  await shard.node.exportTo(seedDirectory)
  const seed = (await readdir(seedDirectory)).sort()
  await fill(shard, 151)
  const directory = join(shard.directory, 'sibling')
  const first = await shard.open({ directory, seedDirectory })
  expect(await contentOf(shard, first)).toEqual(await contentOf(shard))
  expect((await first.status()).checkpoint.writtenAtMs).not.toBeNull()
  await first.close()
  expect((await readdir(seedDirectory)).sort()).toEqual(seed)
  const again = await shard.open({ directory, seedDirectory: join(shard.directory, 'not there') })
  expect(await contentOf(shard, again)).toEqual(await contentOf(shard))
  await again.close()
  expect(shard.alarms).toEqual([])
})

test.each(['damaged', 'too old'])('a seed that is %s is refused with the reason, and the shard rebuilt', async what => {
  await shard.open()
  await fill(shard, 1)
  const seedDirectory = join(shard.directory, 'seed')
  await shard.node.exportTo(seedDirectory)
  if (what === 'too old') shard.nowMs += 8 * days
  else await flipBit(join(seedDirectory, (await readdir(seedDirectory)).find(name => name.startsWith('rows-'))!), 0.5)
  const node = await shard.open({ directory: join(shard.directory, 'sibling'), seedDirectory })
  expect(await contentOf(shard, node)).toEqual(await contentOf(shard))
  await node.close()
  expect(shard.alarms).toMatchObject([
    {
      code: what === 'too old' ? 'checkpoint-too-old' : 'checkpoint-corrupt',
      message: expect.stringContaining(`the snapshot in ${seedDirectory}`),
    },
  ])
})

test('checkpoints written while items are rewritten restore whole sets', async () => {
  await shard.open()
  let offset = 1
  const write = (): Promise<void> =>
    shard.append(
      Array.from({ length: 40 }, (_, i) => [
        attributesPut(`item-${i}`, offset),
        objectsPut(`item-${i}`, offset, [vectors.next(0), vectors.next(1)]),
      ]).flat(),
    )
  for (; offset <= 30; offset++) {
    await write()
    if (offset % 3 === 0) void shard.node.checkpoint()
  }
  await shard.caughtUp()
  await shard.node.close()
  await shard.open()
  expect(shard.alarms).toEqual([])
  const restored = (await contentOf(shard)) as { rows: number }
  expect(restored.rows).toBe(80)
  expect(restored).toEqual(await freshReplay())
})

test('a refused record above the watermark is remembered over a restart', async () => {
  await shard.open()
  await shard.apply(attributesPut('lamp', 5), objectsPut('lamp', 5, [new Float32Array(dims).fill(1)]))
  await shard.node.close()
  await shard.open()
  await shard.watermark(5)
  expect(shard.node.state).toBe('refusing')
})
