import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { assert, asyncProperty, integer, record } from 'fast-check'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { decodeF16 } from '../../schemas/unit-vector.ts'
import type { DiskStep } from '../files/disk-steps.ts'
import { ShardFiles } from '../files/shard-files.ts'
import { PlainKernel } from '../kernel/plain-kernel.ts'
import { type InputRow, inputDims, writeInputs } from '../testing/segment-inputs.ts'
import type { BuildInput } from './build-messages.ts'
import { GraphView } from './graph-file.ts'
import { type RowsInMemory, readRows } from './rows-file.ts'
import type { SavedSegment } from './segment.ts'
import { buildSegment } from './segment-build.ts'

let directory: string
let files: ShardFiles
beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-build-'))
  files = new ShardFiles(directory)
})
afterEach(() => rm(directory, { recursive: true }))

const graph = { connectivity: 12, expansionAdd: 64 }
const build = (inputs: readonly BuildInput[], id = 100, withGraph = false): Promise<SavedSegment> =>
  buildSegment(files, { directory, id, inputs, graph: withGraph ? graph : null }, () => {})
const read = (segment: SavedSegment): Promise<RowsInMemory> =>
  readRows(files, segment.rows, { threads: 1, vectors: true })

function rowsOf({ columns, ordinals }: RowsInMemory): InputRow[] {
  return Array.from(columns.items, (item, row) => ({
    item,
    object: columns.objects[row]!,
    ordinal: ordinals[row]!,
    halves: columns.halves.slice(row * inputDims, (row + 1) * inputDims),
  }))
}

describe('a segment', () => {
  test('holds the kept rows of all inputs, sorted by item and object, with codes about their mean', async () => {
    const shapes = record({
      seed: integer(),
      segments: integer({ min: 1, max: 4 }),
      rows: integer({ min: 1, max: 200 }),
      items: integer({ min: 1, max: 400 }),
    })
    const law = asyncProperty(shapes, async shape => {
      const { inputs, kept } = await writeInputs(files, shape)
      const segment = await build(inputs)
      const built = await read(segment)
      expect(rowsOf(built)).toEqual(kept)
      const ordinals = kept.map(row => row.ordinal)
      expect(segment.rows).toMatchObject({
        order: 'item',
        items: shape.items,
        firstOrdinal: Math.min(...ordinals),
        lastOrdinal: Math.max(...ordinals),
      })
      for (let d = 0; d < inputDims; d++)
        expect(built.mean[d]).toBeCloseTo(kept.reduce((sum, row) => sum + component(row, d), 0) / kept.length, 5)
      const codes = built.columns.codes.slice()
      built.columns.codes.fill(0)
      new PlainKernel(built.memory).encode(0, kept.length, built.mean)
      expect(built.columns.codes.slice()).toEqual(codes)
    })
    await assert(law, { numRuns: 25 })
  })

  test('is built of segments that were built, and the same request gives the same rows file', async () => {
    const { inputs, kept } = await writeInputs(files, { seed: 3, segments: 3, rows: 100, items: 120 })
    const all = (rows: number): Uint8Array => new Uint8Array(Math.ceil(rows / 8)).fill(255)
    const [first, second] = [await build(inputs.slice(0, 2), 100), await build(inputs.slice(2), 101)]
    const whole = await build(inputs, 102)
    const merged = await build(
      [first, second].map(segment => ({ ...segment, keep: all(segment.rows.rows) })),
      103,
    )
    expect(rowsOf(await read(merged))).toEqual(kept)
    const bytes = await Promise.all([whole, merged].map(segment => readFile(files.path(segment.rows.file))))
    expect(bytes[0]!.equals(bytes[1]!)).toBe(true)
  })

  test('has a graph when one is asked for, whose keys are its rows', async () => {
    const { inputs } = await writeInputs(files, { seed: 5, segments: 3, rows: 300, items: 700 })
    const progress: number[] = []
    const segment = await buildSegment(files, { directory, id: 9, inputs, graph }, rows => progress.push(rows))
    expect(progress).toEqual([256, 512, segment.rows.rows])
    await files.verify(segment.graph!)
    const view = GraphView.open(files.path(segment.graph!.file), segment.graph!)
    const { columns } = await read(segment)
    for (let row = 0; row < segment.rows.rows; row += 50) {
      const halves = columns.halves.slice(row * inputDims, (row + 1) * inputDims)
      expect([...view.search(decodeF16(new Uint8Array(halves.buffer)), 10)]).toContain(row)
    }
    view.release()
  })
})

describe('a graph whose rows come first', () => {
  const rowsOfBoth = { segments: 1, rows: 600, items: 400 }

  async function built(firstItem: number, { id, withGraph }: { id: number; withGraph: boolean }): Promise<BuildInput> {
    const { inputs } = await writeInputs(files, { seed: id, firstItem, firstId: id, ...rowsOfBoth })
    const segment = await build(inputs, id + 1, withGraph)
    return { ...segment, keep: new Uint8Array(Math.ceil(segment.rows.rows / 8)).fill(255) }
  }

  /** Whether the graph of all of them is the first one's with the others added: by how often progress was told. */
  async function isExtended(first: BuildInput, second: BuildInput): Promise<boolean> {
    let turns = 0
    const segment = await buildSegment(files, { directory, id: 90, inputs: [second, first], graph }, () => turns++)
    const view = GraphView.open(files.path(segment.graph!.file), segment.graph!)
    const rows = rowsOf(await read(segment))
    for (const [row, { halves }] of rows.entries())
      expect([...view.search(decodeF16(new Uint8Array(halves.buffer)), 10)]).toContain(row)
    view.release()
    expect([second.rows.rows, rows.length].map(count => Math.ceil(count / 256))).toContain(turns)
    return turns === Math.ceil(second.rows.rows / 256)
  }

  test('has the others added to it', async () => {
    const older = await built(0, { id: 10, withGraph: true })
    const newer = await built(1_000, { id: 20, withGraph: false })
    expect(await isExtended(older, newer)).toBe(true)
  })

  test.each([
    [
      'a row of it is not kept',
      0,
      ({ keep }: BuildInput): void => {
        keep[3] = 251
      },
    ],
    ['rows of others come before', 2_000, (): void => {}],
    ['it is damaged', 0, (input: BuildInput) => flipBit(files.path(input.graph!.file))],
    ['it is gone', 0, (input: BuildInput) => rm(files.path(input.graph!.file))],
  ] as const)('is built anew when %s', async (_why, firstItem, change) => {
    const older = await built(firstItem, { id: 10, withGraph: true })
    const newer = await built(1_000, { id: 20, withGraph: false })
    await change(older)
    expect(await isExtended(older, newer)).toBe(false)
  })
})

describe('what cannot be built', () => {
  test('nothing is to be kept, or two rows of one object', async () => {
    const { inputs } = await writeInputs(files, { seed: 1, segments: 1, rows: 10, items: 4 })
    const none = { ...inputs[0]!, keep: new Uint8Array(2) }
    await expect(build([none])).rejects.toMatchObject({ code: 'internal' })
    await expect(build([inputs[0]!, inputs[0]!])).rejects.toThrow(/two rows of object/)
  })

  test('an input that is damaged or missing', async () => {
    const { inputs } = await writeInputs(files, { seed: 1, segments: 2, rows: 50, items: 40 })
    const path = files.path(inputs[1]!.rows.file)
    await flipBit(path)
    await expect(build(inputs)).rejects.toMatchObject({ code: 'checkpoint-corrupt' })
    await rm(path)
    await expect(build(inputs)).rejects.toMatchObject({ code: 'checkpoint-corrupt' })
    expect((await files.list()).sort()).toEqual(['rows-1'])
  })

  test('a full disk at any step', async () => {
    const { inputs } = await writeInputs(files, { seed: 2, segments: 2, rows: 50, items: 40 })
    const request = { directory, id: 100, inputs, graph }
    const steps: string[] = []
    const recording = new ShardFiles(directory, (step, file) => steps.push(`${step} ${file}`.trim()))
    await buildSegment(recording, request, () => {})
    const distinct = steps.filter((step, i) => step !== steps[i - 1])
    const ofFile = (file: string): string[] => ['create', 'write', 'sync', 'rename'].map(step => `${step} ${file}`)
    expect(distinct).toEqual([...ofFile('rows-100'), 'sync-directory', ...ofFile('graph-100'), 'sync-directory'])
    for (let full = 0; full < steps.length; full++) {
      let step = 0
      const filling = new ShardFiles(directory, (_step: DiskStep) => {
        if (step++ === full) throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
      })
      await expect(buildSegment(filling, request, () => {})).rejects.toMatchObject({ code: 'storage-full' })
      expect((await files.list()).filter(name => name.endsWith('.tmp'))).toEqual([])
    }
  })
})

async function flipBit(path: string): Promise<void> {
  const bytes = await readFile(path)
  bytes[bytes.length - 7]! ^= 4
  await writeFile(path, bytes)
}

function component({ halves }: InputRow, at: number): number {
  return decodeF16(new Uint8Array(halves.slice(at, at + 1).buffer))[0]!
}
