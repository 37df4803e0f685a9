import { mkdtemp, readFile, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { assert, asyncProperty, boolean, constantFrom, integer, record } from 'fast-check'
import { afterAll, beforeAll, describe, expect, test } from 'vitest'
import { ShardFiles } from '../files/shard-files.ts'
import { columnsOf, createRowMemory } from '../kernel/row-memory.ts'
import { seededRandom } from '../testing/seeded-random.ts'
import { type RowsToWrite, readRowNumbers, readRows, readVectors, writeRows } from './rows-file.ts'
import type { SavedRows } from './segment.ts'

let directory: string
let files: ShardFiles
let nextId = 1
beforeAll(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-rows-'))
  files = new ShardFiles(directory)
})
afterAll(() => rm(directory, { recursive: true }))

interface Shape {
  readonly dims: number
  readonly rows: number
  readonly seed: number
  readonly isLog: boolean
}

/** Rows in a memory with room for more, all columns random. */
function randomRows({ dims, rows, seed, isLog }: Shape): RowsToWrite {
  const random = seededRandom(seed)
  const below = (limit: number): number => Math.floor(random() * limit)
  const memory = createRowMemory({ dims, capacity: rows + 5, items: 64, vectors: true, threads: 1 })
  const columns = columnsOf(memory)
  columns.items.forEach((_, i) => {
    columns.items[i] = below(1_000_000)
  })
  columns.objects.forEach((_, i) => {
    columns.objects[i] = below(256)
  })
  columns.codes.forEach((_, i) => {
    columns.codes[i] = below(256)
  })
  columns.halves.forEach((_, i) => {
    columns.halves[i] = below(65_536)
  })
  const mean = Float32Array.from({ length: dims }, random)
  const first = below(2 ** 50)
  const ordinals = isLog ? first : Float64Array.from({ length: rows }, () => first + below(2 ** 33))
  return { order: isLog ? 'log' : 'item', rows, columns, mean, ordinals, items: 1_000_000 }
}

async function written(shape: Shape): Promise<{ readonly source: RowsToWrite; readonly saved: SavedRows }> {
  const source = randomRows(shape)
  return { source, saved: await writeRows(files, nextId++, source) }
}

const shapes = record({
  dims: constantFrom(8, 16, 104, 256),
  rows: integer({ min: 1, max: 600 }),
  seed: integer(),
  isLog: boolean(),
})

test('what was written is read, into memory or only the numbers', async () => {
  const law = asyncProperty(shapes, boolean(), async (shape, vectors) => {
    const { source, saved } = await written(shape)
    const { rows, dims } = shape
    const read = await readRows(files, saved, { threads: 2, vectors })
    const ordinals =
      typeof source.ordinals === 'number'
        ? Float64Array.from({ length: rows }, (_, row) => (source.ordinals as number) + row)
        : source.ordinals
    expect(read.ordinals).toEqual(ordinals)
    expect(saved).toMatchObject({ rows, dims, order: source.order, items: source.items })
    expect([saved.firstOrdinal, saved.lastOrdinal]).toEqual([Math.min(...ordinals), Math.max(...ordinals)])
    expect(read.mean).toEqual(source.mean)
    const { columns } = read
    expect(columns.shape).toMatchObject({ dims, capacity: rows, threads: 2, vectors })
    expect(columns.items.slice()).toEqual(source.columns.items.slice(0, rows))
    expect(columns.objects.slice()).toEqual(source.columns.objects.slice(0, rows))
    expect(columns.codes.slice()).toEqual(source.columns.codes.slice(0, (rows * dims) / 8))
    expect(columns.words.every(word => word === 0)).toBe(true)
    const halves = source.columns.halves.slice(0, rows * dims)
    if (vectors) expect(columns.halves.slice()).toEqual(halves)
    else expect(columns.halves.length).toBe(0)
    const numbers = await readRowNumbers(files, saved)
    expect(numbers).toEqual({ ordinals, items: columns.items.slice(), objects: columns.objects.slice() })
    const bytes = await readFile(files.path(saved.file))
    expect(bytes.subarray(saved.vectorsAt).equals(Buffer.from(halves.buffer))).toBe(true)
  })
  await assert(law, { numRuns: 40 })
})

test('vectors come in the order of the file, in pieces', async () => {
  const { source, saved } = await written({ dims: 256, rows: 5_000, seed: 3, isLog: true })
  const firsts: number[] = []
  const halves = new Uint16Array(5_000 * 256)
  await readVectors(files, saved, (first, piece) => {
    firsts.push(first)
    halves.set(piece, first * 256)
  })
  expect(firsts).toEqual([0, 2_048, 4_096])
  expect(halves).toEqual(source.columns.halves.slice(0, halves.length))
})

test('filters have room for more items than the rows have, in whole words', async () => {
  const { saved } = await written({ dims: 8, rows: 3, seed: 1, isLog: true })
  const itemsOf = async (itemsCapacity?: number): Promise<number> => {
    const options = itemsCapacity === undefined ? {} : { itemsCapacity }
    return (await readRows(files, saved, { threads: 1, vectors: true, ...options })).columns.shape.items
  }
  expect([await itemsOf(), await itemsOf(5), await itemsOf(2_000_001)]).toEqual([1_000_000, 1_000_000, 2_000_032])
})

describe('damage is told, never read', () => {
  const readings: readonly ((saved: SavedRows) => Promise<unknown>)[] = [
    saved => readRows(files, saved, { threads: 1, vectors: true }),
    saved => readRows(files, saved, { threads: 1, vectors: false }),
    saved => readRowNumbers(files, saved),
  ]
  const refusedBy = async (saved: SavedRows): Promise<void> => {
    for (const reading of readings) await expect(reading(saved)).rejects.toMatchObject({ code: 'checkpoint-corrupt' })
  }

  test('cut off at every edge of a column, and in it', async () => {
    const { saved } = await written({ dims: 16, rows: 100, seed: 4, isLog: false })
    const whole = await readFile(files.path(saved.file))
    // Edges of header, ordinals, items, objects, mean, codes, vectors.
    const edges = [64, 864, 896, 1_296, 1_344, 1_444, 1_472, 1_536, 1_736, 1_792, 4_992]
    expect(whole.length).toBe(edges.at(-1))
    for (const edge of [0, ...edges.flatMap(each => [each - 1, each]).slice(0, -1)]) {
      await writeFile(files.path(saved.file), whole.subarray(0, edge))
      await refusedBy(saved)
    }
  })

  test('one bit flipped anywhere', async () => {
    const { saved } = await written({ dims: 8, rows: 20, seed: 5, isLog: true })
    const whole = await readFile(files.path(saved.file))
    const law = asyncProperty(integer({ min: 0, max: whole.length * 8 - 1 }), async bit => {
      const flipped = Buffer.from(whole)
      flipped[bit >> 3]! ^= 1 << (bit & 7)
      await writeFile(files.path(saved.file), flipped)
      await refusedBy(saved)
    })
    await assert(law, { numRuns: 150 })
  })

  test('a whole file that is not the one the manifest describes', async () => {
    const { saved } = await written({ dims: 16, rows: 32, seed: 6, isLog: false })
    const others: readonly Partial<SavedRows>[] = [
      { order: 'log' },
      { rows: 31 },
      { dims: 8 },
      { rows: 64, dims: 8 },
      { items: 999_999 },
      { firstOrdinal: saved.firstOrdinal - 1 },
      { lastOrdinal: saved.lastOrdinal + 1 },
      { vectorsAt: saved.vectorsAt + 64 },
    ]
    for (const other of others) await refusedBy({ ...saved, ...other })
  })
})

test('rows that could not be written leave nothing', async () => {
  const full = new ShardFiles(directory, step => {
    if (step === 'sync') throw Object.assign(new Error('no space'), { code: 'ENOSPC' })
  })
  const before = await files.list()
  const writing = writeRows(full, nextId++, randomRows({ dims: 8, rows: 9, seed: 1, isLog: true }))
  await expect(writing).rejects.toMatchObject({ code: 'storage-full' })
  expect(await files.list()).toEqual(before)
})
