import { mkdtempSync, readdirSync, rmSync, writeFileSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import { afterAll, describe, expect, test } from 'vitest'
import { decodeF16, encodeF16, normalise } from '../../schemas/unit-vector.ts'
import { subspaceVectors } from '../testing/subspace-vectors.ts'
import { contractDims as dims, queryOf, testVectorIndex, tieKeys } from '../testing/vector-index-contract.ts'
import type { IndexAnswer, VectorIndex } from '../vector-index.ts'
import type { RowStanding } from './row-word.ts'
import type { SavedSegment } from './segment.ts'
import { SegmentedIndex, type SegmentedIndexOptions } from './segmented-index.ts'

const root = mkdtempSync(join(tmpdir(), 'freshet-index-'))
afterAll(() => rmSync(root, { recursive: true }))

const smallSegments = { threads: 1, logRows: 64, graphRows: 256 } as const
const items = 600

function openIndex(options: Partial<SegmentedIndexOptions> = {}): Promise<SegmentedIndex> {
  const fail = (error: Error): never => {
    throw error
  }
  return SegmentedIndex.open({
    directory: mkdtempSync(join(root, 'shard-')),
    dims,
    ties: tieKeys(items),
    tuning: smallSegments,
    saved: [],
    standing: () => 'garbage',
    currentRows: 0,
    lastSegmentId: 0,
    onAlarm: fail,
    onFailure: fail,
    ...options,
  })
}

const compacted = async (index: VectorIndex): Promise<void> => {
  if (index instanceof SegmentedIndex) await index.compact(true)
}
const ofKind = (kind: 'standard' | 'compressed', logRows = 64): Promise<SegmentedIndex> =>
  openIndex({ ties: tieKeys(4_096), tuning: { ...smallSegments, kind, logRows } })

testVectorIndex('of one segment in memory', { open: () => ofKind('standard', 16_384) })
testVectorIndex('of many small segments', { open: () => ofKind('standard') })
testVectorIndex('compacted to one segment with a graph', { open: () => ofKind('standard'), arrange: compacted })
testVectorIndex('compacted, vectors on disk', { open: () => ofKind('compressed'), arrange: compacted })

const vectors = subspaceVectors({ seed: 23, dims, clusters: 6, spread: 0.8 })

/** Puts a row for each item; the same item numbers again are replacements. */
function fill(index: SegmentedIndex, count = items): void {
  for (let item = 0; item < count; item++) index.put(item, { vectors: vectors.bytes(item % 6), visible: true })
}

/** The registers of items that have one row each, put in order by `fill` on an empty index. */
const filled = {
  standing: (item: number, ordinal: number): RowStanding => (ordinal === item ? 'visible' : 'garbage'),
  currentRows: items,
}

function namesOf(saved: readonly SavedSegment[]): string[] {
  return saved.flatMap(({ rows, graph }) => (graph === null ? [rows.file] : [rows.file, graph.file]))
}

describe('compaction', () => {
  test('when settled, log segments have become segments with a graph and no row is lost', async () => {
    const index = await openIndex()
    fill(index)
    await index.settled()
    const { graphs, rows, scannedRows, segments } = index.statistics()
    expect(graphs).toBe(1)
    expect(rows).toBe(items)
    expect(scannedRows).toBeLessThan(items / 2)
    expect(segments).toBeLessThanOrEqual(4)
    await index.close()
  })

  test('forced, it leaves one segment without garbage; with all items removed, none', async () => {
    const index = await openIndex()
    fill(index)
    fill(index, 300)
    await index.compact(true)
    expect(index.statistics()).toMatchObject({ rows: items, tombstones: 0, segments: 1, graphs: 1, scannedRows: 0 })
    index.setEffort(33)
    expect((await index.search(queryOf(vectors.query(0)))).plan).toMatchObject({ kind: 'graph', effort: 33 })
    for (let item = 0; item < items; item++) index.remove(item)
    await index.compact(true)
    expect(index.statistics()).toMatchObject({ rows: 0, tombstones: 0, segments: 0, diskBytes: 0 })
    expect((await index.search(queryOf(vectors.query(0)))).hits).toEqual([])
    await index.close()
  })

  test('once hardly anything changes, it leaves one segment where it would leave garbage and others', async () => {
    const [many, replaced, calmMs] = [8_192, 600, 40]
    const index = await openIndex({ ties: tieKeys(many), tuning: { ...smallSegments, calmMs } })
    fill(index, many)
    await index.compact(true)
    fill(index, replaced)
    let isWriting = true
    const write = async (): Promise<void> => {
      for (let item = 0; isWriting; item = (item + 1) % 6) {
        index.put(item, { vectors: vectors.bytes(item), visible: true })
        await nextTurn()
      }
    }
    const writing = write()
    await delay(10 * calmMs)
    expect(index.statistics().tombstones).toBeGreaterThanOrEqual(replaced)
    isWriting = false
    await writing
    await expect
      .poll(() => index.statistics(), { timeout: 30_000 })
      .toMatchObject({ rows: many, tombstones: 0, segments: 1, graphs: 1, scannedRows: 0 })
    await index.close()
  })

  test('while segments are frozen, merged and swapped, every search sees the versions of the moment it was sent', async () => {
    const index = await openIndex({ tuning: { ...smallSegments, threads: 2 } })
    const versions = new Uint32Array(150)
    const put = (item: number): void => {
      versions[item]!++
      index.put(item, { vectors: marked(versions[item]!), visible: true })
    }
    versions.forEach((_, item) => {
      put(item)
    })
    let swaps = 0
    let searches = 0
    const isEnough = (): boolean => swaps >= 5 && searches >= 100
    const write = async (): Promise<void> => {
      for (let turn = 0, segments = 0; !isEnough(); turn++) {
        put((turn * 17) % versions.length)
        await nextTurn()
        if (index.statistics().segments < segments) swaps++
        segments = index.statistics().segments
      }
    }
    const read = async (exact: boolean): Promise<void> => {
      while (!isEnough()) {
        const sent = versions.slice()
        const { hits } = await index.search(queryOf(decodeF16(marked(0)), { k: versions.length, exact }))
        expect(new Map(hits.map(({ item, score }) => [item, score]))).toEqual(
          new Map([...sent].map((version, item) => [item, markOf(version)])),
        )
        searches++
      }
    }
    await Promise.all([write(), read(true), read(true), read(false), read(false)])
    await index.close()
  })

  test('a full disk is an alarm; once there is space it goes on', async () => {
    const alarms: string[] = []
    let isFull = true
    const index = await openIndex({
      onAlarm: ({ code }) => {
        alarms.push(code)
        isFull = false
      },
      onDiskStep: step => {
        if (isFull && step === 'write') throw Object.assign(new Error('no space left'), { code: 'ENOSPC' })
      },
    })
    fill(index)
    expect((await index.search(queryOf(vectors.query(1)))).hits).toHaveLength(10)
    await index.settled()
    expect(alarms).toEqual(['storage-full'])
    expect(index.statistics().graphs).toBe(1)
    await index.close()
  })

  test('closing does not wait for a build', async () => {
    const index = await openIndex()
    fill(index)
    const settled = index.settled()
    await nextTurn()
    await index.close()
    await settled
    expect(index.statistics().graphs).toBe(0)
  })
})

describe('checkpoints', () => {
  test('files that neither the checkpoint nor the index needs can go; opened again it answers alike', async () => {
    const directory = mkdtempSync(join(root, 'shard-'))
    const index = await openIndex({ directory })
    fill(index)
    await index.compact(true)
    const query = queryOf(vectors.query(2), { exact: true })
    const before = await index.search(query)
    const saving = index.segmentsForCheckpoint()
    fill(index)
    const saved = await saving
    await index.settled()
    for (const name of readdirSync(directory))
      if (!index.segmentsInUse().has(name) && !namesOf(saved).includes(name)) rmSync(join(directory, name))
    expect((await index.search(query)).hits).toHaveLength(10)
    await index.close()
    const again = await openIndex({ directory, saved, ...filled, lastSegmentId: 100 })
    expect((await again.search(query)).hits).toEqual(before.hits)
    expect(again.statistics()).toMatchObject({ rows: items, tombstones: 0, graphs: 1, segments: 1 })
    expect(again.put(0, { vectors: vectors.bytes(0), visible: true })).toBe(items)
    await again.close()
  })

  test('a checkpoint of what has not changed writes nothing', async () => {
    const steps: string[] = []
    const index = await openIndex({ onDiskStep: (step, file) => steps.push(`${step} ${file}`) })
    fill(index, 40)
    const first = await index.segmentsForCheckpoint()
    steps.length = 0
    expect(await index.segmentsForCheckpoint()).toEqual(first)
    expect(steps).toEqual([])
    index.put(40, { vectors: vectors.bytes(0), visible: true })
    const [second] = await index.segmentsForCheckpoint()
    expect(second?.rows.rows).toBe(41)
    expect(second?.rows.file).not.toBe(first[0]?.rows.file)
    await index.close()
  })

  test.each([
    ['is damaged', (graph: string) => writeFileSync(graph, 'not a graph')],
    ['is missing', (graph: string) => rmSync(graph)],
  ])('a graph that %s is built anew; until then its rows are scanned', async (_, spoil) => {
    const directory = mkdtempSync(join(root, 'shard-'))
    const index = await openIndex({ directory })
    fill(index)
    await index.compact(true)
    const saved = await index.segmentsForCheckpoint()
    await index.close()
    spoil(join(directory, saved[0]!.graph!.file))
    const alarms: string[] = []
    const again = await openIndex({
      directory,
      saved,
      ...filled,
      lastSegmentId: 100,
      onAlarm: ({ code }) => alarms.push(code),
    })
    expect(alarms).toEqual(['checkpoint-corrupt'])
    expect(again.statistics()).toMatchObject({ graphs: 0, scannedRows: items })
    expect((await again.search(queryOf(vectors.query(0)))).hits).toHaveLength(10)
    await again.settled()
    expect(again.statistics()).toMatchObject({ graphs: 1, scannedRows: 0, rows: items })
    await again.close()
  })

  test('rows that are damaged refuse the checkpoint', async () => {
    const directory = mkdtempSync(join(root, 'shard-'))
    const index = await openIndex({ directory })
    fill(index, 50)
    const saved = await index.segmentsForCheckpoint()
    await index.close()
    writeFileSync(join(directory, saved[0]!.rows.file), new Uint8Array(saved[0]!.rows.bytes))
    await expect(openIndex({ directory, saved, ...filled, currentRows: 50 })).rejects.toMatchObject({
      code: 'checkpoint-corrupt',
    })
  })
})

test('sequences begin anew while nothing is searched, and no search notices', async () => {
  const index = await openIndex({ tuning: { ...smallSegments, sequenceLimit: 50 } })
  const versions = new Uint32Array(40)
  const expectVersions = async (answer: Promise<IndexAnswer>): Promise<void> => {
    const expected = new Map([...versions].map((version, item) => [item, markOf(version)]))
    expect(new Map((await answer).hits.map(({ item, score }) => [item, score]))).toEqual(expected)
  }
  const put = (item: number): void => {
    versions[item]!++
    index.put(item, { vectors: marked(versions[item]!), visible: true })
  }
  versions.forEach((_, item) => {
    put(item)
  })
  const query = queryOf(decodeF16(marked(0)), { k: versions.length, exact: true })
  for (let round = 0; round < 30; round++) {
    const before = expectVersions(index.search(query))
    for (let i = 0; i < 30; i++) put((round + 7 * i) % versions.length)
    const after = expectVersions(index.search(query))
    await Promise.all([before, after])
    index.setVisible(3, false)
    index.setVisible(3, true)
  }
  await index.close()
})

test('vectors that have much in common are told apart as soon as their mean is known', async () => {
  const index = await openIndex({ ties: tieKeys(4_000), tuning: { ...smallSegments, logRows: 16_384 } })
  const shifted = (cluster: number): Float32Array =>
    normalise(vectors.query(cluster).map((value, d) => value + (d % 2 === 0 ? 0.5 : -0.5)))
  const put = (item: number): void => {
    index.put(item, { vectors: encodeF16(shifted(item % 6)), visible: true })
  }
  const recall = async (): Promise<number> => {
    let found = 0
    for (let i = 0; i < 40; i++) {
      const query = queryOf(shifted(i % 6))
      const [near, exact] = await index.searchBatch([query, { ...query, exact: true }])
      const nearest = new Set(exact?.hits.map(({ item }) => item))
      found += near?.hits.filter(({ item }) => nearest.has(item)).length ?? 0
    }
    return found / 400
  }
  // More than an index has that is scored row by row.
  for (let item = 0; item < 3_000; item++) put(item)
  expect(await recall()).toBeGreaterThan(0.95)
  expect(index.statistics()).toMatchObject({ rows: 3_000, segments: 1 })
  await index.close()
})

test('queries are audited when asked for, exact ones never', async () => {
  const { promise, resolve } = Promise.withResolvers<{ recall: number; effort: number }>()
  let asked = 0
  const shouldAudit = (): boolean => {
    asked++
    return true
  }
  const index = await openIndex({ shouldAudit, onAudit: resolve, tuning: { ...smallSegments, effort: 57 } })
  fill(index, 100)
  await index.search(queryOf(vectors.query(0), { exact: true }))
  expect(asked).toBe(0)
  await index.search(queryOf(vectors.query(0)))
  expect(asked).toBe(1)
  const audit = await promise
  expect(audit.effort).toBe(57)
  expect(audit.recall).toBeGreaterThan(0)
  await index.close()
})

/** Length along the first axis tells the version. */
function markOf(version: number): number {
  return version === 0 ? 1 : (1 + (version % 60)) / 64
}

function marked(version: number): Uint8Array {
  const mark = markOf(version)
  const vector = new Float32Array(dims)
  vector[0] = mark
  vector[1] = Math.round(Math.sqrt(1 - mark * mark) * 1024) / 1024
  return encodeF16(vector)
}
