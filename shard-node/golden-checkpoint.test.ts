import { cp, mkdtemp, readdir, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { expect, test } from 'vitest'
import { asPartition, parseItemId } from '../schemas/ids.ts'
import type { LogReader } from '../topologies/event-log.ts'
import { restoreShard } from './checkpoint.ts'
import { CheckpointDirectory } from './checkpoint-directory.ts'
import { checkpointFormat } from './checkpoint-manifest.ts'
import { isStale } from './registers.ts'
import { Searcher } from './searcher.ts'
import { acceptanceOf, generation } from './testing/shard-on-log.ts'

const golden = fileURLToPath(new URL('./golden', import.meta.url))
const dims = 8
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

function axis(at: number): Float32Array {
  return Float32Array.from({ length: dims }, (_, i) => (i === at ? 1 : 0))
}

test('every format that this version claims to read has a golden checkpoint', async () => {
  expect(await readdir(golden)).toContain(`checkpoint-${checkpointFormat}`)
})

test('the golden checkpoint opens and says what was written', async () => {
  const directory = new CheckpointDirectory(await mkdtemp(join(tmpdir(), 'freshet-golden-')))
  await cp(join(golden, 'checkpoint-1'), directory.path, { recursive: true })
  const searcher = new Searcher({ dims, expansionAdd: 64, expansionSearch: 64, directory: directory.path })
  const alarms: string[] = []
  const { state, manifest } = await restoreShard({
    identity: { generation, acceptance: acceptanceOf(dims), partitions: [asPartition(0), asPartition(1)] },
    directory,
    searcher,
    nowMs: 1_000_000,
    tombstoneRetentionMs: 1,
    openReader: async () => idle,
    onAlarm: ({ code }) => alarms.push(code),
  })
  // Another version of the graph library builds the graph anew, and says so; nothing else may be amiss.
  expect(alarms.filter(code => code !== 'data-format')).toEqual([])
  expect(manifest?.sequence).toBe(1)
  expect([...state.next]).toEqual([
    [0, 9],
    [1, 8],
  ])
  expect(state.watermarks.get(asPartition(1))?.offset).toBe(8)
  expect(state.table.counts).toEqual({ searchable: 2, pending: 2, failed: 1, deleted: 1, unknown: 1 })
  const lamp = state.table.find(parseItemId('lamp'))!
  expect(lamp.state.attributes).toMatchObject({ title: 'Lamp', price: 25.5, attributes: { colour: 'red', wood: true } })
  expect(isStale(state.table.find(parseItemId('sofa'))!.state)).toBe(true)
  expect(state.table.find(parseItemId('pending-😀'))?.state.attributesOffset).toBe(6)
  expect(state.refused.open).toMatchObject([{ itemId: 'refused', offset: 20, code: 'vector-not-unit' }])
  const query = { vector: axis(1), k: 5, exact: false, allowed: null, exclude: -1 }
  const { hits } = await searcher.ask('search', query, answer => answer)
  expect(hits[0]).toEqual({ item: lamp.ordinal, object: 1, score: 1 })
  expect(hits).toHaveLength(2)
  const early = state.table.find(parseItemId('early'))!
  expect(await searcher.ask('vector', { item: early.ordinal, object: 0 }, vector => vector)).toEqual(axis(4))
  await searcher.close()
  await rm(directory.path, { recursive: true })
})
