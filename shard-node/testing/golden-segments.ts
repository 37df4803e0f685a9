import { ShardFiles } from '../files/shard-files.ts'
import { columnsOf, createRowMemory, type RowMemoryHandle } from '../kernel/row-memory.ts'
import { WasmKernel } from '../kernel/wasm-kernel.ts'
import { writeRows } from '../segments/rows-file.ts'
import type { SavedSegment } from '../segments/segment.ts'
import { buildSegment } from '../segments/segment-build.ts'
import { subspaceVectors } from './subspace-vectors.ts'

export const goldenDims = 16
const rows = 30
const items = 12
const firstOrdinal = 2 ** 32 - 10

export interface GoldenSegments {
  /** In the order put. */
  readonly log: SavedSegment
  /** Every second row of it, sorted by item, with a graph. */
  readonly item: SavedSegment
}

/** Item and object of row r of the log segment: sets of two. Its ordinal is `goldenOrdinal`. */
export function goldenRow(row: number): { readonly item: number; readonly object: number; readonly ordinal: number } {
  const set = row >> 1
  return { item: (set * 7) % items, object: row & 1, ordinal: firstOrdinal + row }
}

/** Rows of the log segment that the item segment keeps: the newest set of each item. */
export function goldenKept(): number[] {
  const newest = new Map<number, number>()
  for (let row = 0; row < rows; row++) newest.set(goldenRow(row).item, row >> 1)
  return Array.from({ length: rows }, (_, row) => row).filter(row => newest.get(goldenRow(row).item) === row >> 1)
}

/** Numbers, codes and vectors of the log segment, the same each time. */
export function goldenMemory(): { readonly memory: RowMemoryHandle; readonly mean: Float32Array } {
  const memory = createRowMemory({ dims: goldenDims, capacity: rows, items: 32, vectors: true, threads: 1 })
  const columns = columnsOf(memory)
  const source = subspaceVectors({ seed: 42, dims: goldenDims, clusters: 3, spread: 0.6 })
  for (let row = 0; row < rows; row++) {
    const { item, object } = goldenRow(row)
    columns.items[row] = item
    columns.objects[row] = object
    columns.halves.set(new Uint16Array(source.bytes(item % 3).slice().buffer), row * goldenDims)
  }
  const mean = Float32Array.from({ length: goldenDims }, (_, d) => (d - 8) / 64)
  new WasmKernel(memory, 0).encode(0, rows, mean)
  return { memory, mean }
}

/** Writes the golden segments into an empty directory. */
export async function writeGoldenSegments(directory: string): Promise<GoldenSegments> {
  const files = new ShardFiles(directory)
  const { memory, mean } = goldenMemory()
  const source = { order: 'log', rows, columns: columnsOf(memory), mean, ordinals: firstOrdinal, items } as const
  const log = { id: 1, rows: await writeRows(files, 1, source), graph: null }
  const keep = new Uint8Array(Math.ceil(rows / 8))
  for (const row of goldenKept()) keep[row >> 3]! |= 1 << (row & 7)
  const graph = { connectivity: 12, expansionAdd: 64 }
  const request = { directory, id: 2, inputs: [{ ...log, keep }], graph }
  return { log, item: await buildSegment(files, request, () => {}) }
}
