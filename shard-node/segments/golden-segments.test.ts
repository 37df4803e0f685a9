import { mkdtemp, readFile, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { fileURLToPath } from 'node:url'
import { afterAll, beforeAll, expect, test } from 'vitest'
import { decodeF16 } from '../../schemas/unit-vector.ts'
import { ShardFiles } from '../files/shard-files.ts'
import { columnsOf } from '../kernel/row-memory.ts'
import {
  type GoldenSegments,
  goldenDims,
  goldenKept,
  goldenMemory,
  goldenRow,
  writeGoldenSegments,
} from '../testing/golden-segments.ts'
import { GraphView, graphLibrary } from './graph-file.ts'
import { type RowsInMemory, readRows } from './rows-file.ts'

const golden = new ShardFiles(fileURLToPath(new URL('../golden/engine-1', import.meta.url)))
let segments: GoldenSegments
let fresh: ShardFiles
let freshSegments: GoldenSegments
beforeAll(async () => {
  segments = JSON.parse(String(await golden.read('segments.json'))) as GoldenSegments
  fresh = new ShardFiles(await mkdtemp(join(tmpdir(), 'freshet-golden-')))
  freshSegments = await writeGoldenSegments(fresh.directory)
})
afterAll(() => rm(fresh.directory, { recursive: true }))

function expectRows({ columns, ordinals }: RowsInMemory, rows: readonly number[]): void {
  const { halves } = columnsOf(goldenMemory().memory)
  const read = Array.from(ordinals, (ordinal, row) => ({
    item: columns.items[row]!,
    object: columns.objects[row]!,
    ordinal,
  }))
  expect(read).toEqual(rows.map(goldenRow))
  const vectors = rows.flatMap(row => [...halves.subarray(row * goldenDims, (row + 1) * goldenDims)])
  expect([...columns.halves]).toEqual(vectors)
}

test('golden rows open and hold what was written', async () => {
  const log = await readRows(golden, segments.log.rows, { threads: 1, vectors: true })
  expectRows(
    log,
    Array.from({ length: 30 }, (_, row) => row),
  )
  const { mean, memory } = goldenMemory()
  expect(log.mean).toEqual(mean)
  expect([...log.columns.codes]).toEqual([...columnsOf(memory).codes])
  const item = await readRows(golden, segments.item.rows, { threads: 1, vectors: true })
  const byItem = (a: number, b: number): number => goldenRow(a).item - goldenRow(b).item || a - b
  expectRows(item, goldenKept().sort(byItem))
})

test('rows are written today as they were', async () => {
  for (const segment of ['log', 'item'] as const) {
    expect(freshSegments[segment].rows).toEqual(segments[segment].rows)
    const [today, then] = await Promise.all(
      [fresh, golden].map(files => readFile(files.path(segments[segment].rows.file))),
    )
    expect(today!.equals(then!)).toBe(true)
  }
})

test('the golden graph, or that of another library version built anew, finds its rows', async () => {
  const isOfThisLibrary = segments.item.graph!.library === graphLibrary
  const [files, graph] = isOfThisLibrary ? [golden, segments.item.graph!] : [fresh, freshSegments.item.graph!]
  await files.verify(graph)
  const view = GraphView.open(files.path(graph.file), graph)
  const { columns } = await readRows(golden, segments.item.rows, { threads: 1, vectors: true })
  for (let row = 0; row < graph.size; row++) {
    const halves = columns.halves.slice(row * goldenDims, (row + 1) * goldenDims)
    expect(view.search(decodeF16(new Uint8Array(halves.buffer)), 3)).toContain(row)
  }
  view.release()
})
