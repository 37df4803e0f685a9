import { writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { decodeF16, dot } from '../../schemas/unit-vector.ts'
import { ShardFiles } from '../files/shard-files.ts'
import { columnsOf, createRowMemory } from '../kernel/row-memory.ts'
import { WasmKernel } from '../kernel/wasm-kernel.ts'
import type { WireQuery } from '../search/search-messages.ts'
import { GraphBuilder } from '../segments/graph-file.ts'
import type { SegmentView } from '../segments/segment.ts'
import type { IndexHit } from '../vector-index.ts'

/** A row as a test makes it: `word` as of `visibility`. */
export interface TestRow {
  readonly item: number
  readonly object: number
  /** f16. */
  readonly vector: Uint8Array
  readonly word: number
}

export interface TestSegment {
  readonly view: SegmentView
  readonly rows: readonly TestRow[]
}

export interface TestSegmentOptions {
  readonly id: number
  readonly order: 'log' | 'item'
  readonly rows: readonly TestRow[]
  readonly dims: number
  /** Item numbers lie below; a multiple of 32. */
  readonly items: number
  readonly threads: number
  /** Where files go. */
  readonly directory: string
  readonly hasGraph?: boolean
  /** Of the graph. */
  readonly expansionAdd?: number
  /** Only codes in memory. */
  readonly isCompressed?: boolean
}

/** Bytes before the vectors of a compressed segment's file. */
const vectorsAt = 128

/** A segment as the owner would hand it to search threads; rows of an `item` segment are sorted here. */
export async function buildSegment(options: TestSegmentOptions): Promise<TestSegment> {
  const { id, order, dims, items, threads, directory, expansionAdd = 64 } = options
  const rows = order === 'log' ? options.rows : options.rows.toSorted((a, b) => a.item - b.item || a.object - b.object)
  const capacity = rows.length
  const memory = createRowMemory({ dims, capacity, items, vectors: true, threads: threads + 1 })
  const columns = columnsOf(memory)
  rows.forEach((row, i) => {
    columns.items[i] = row.item
    columns.objects[i] = row.object
    columns.words[i] = row.word
    columns.halves.set(new Uint16Array(row.vector.slice().buffer), i * dims)
  })
  const mean = meanOf(rows, dims)
  new WasmKernel(memory, threads).encode(0, capacity, mean)
  const view: SegmentView = { id, memory, order, rows: capacity, mean, graph: null, vectors: null }
  if (options.isCompressed) return { rows, view: compressed(view, join(directory, `vectors-${id}`)) }
  if (!options.hasGraph) return { rows, view }
  const builder = new GraphBuilder({ dims, connectivity: 12, expansionAdd })
  const vectors = new Float32Array(capacity * dims)
  rows.forEach(({ vector }, i) => {
    decodeF16(vector, vectors, i * dims)
  })
  builder.add(vectors)
  const files = new ShardFiles(directory)
  const { file, size } = await builder.save(files, id)
  return { rows, view: { ...view, graph: { path: files.path(file), size } } }
}

/** The same segment with its vectors in a file. */
function compressed(view: SegmentView, path: string): SegmentView {
  const { shape } = view.memory
  const memory = createRowMemory({ ...shape, vectors: false })
  const from = columnsOf(view.memory)
  const to = columnsOf(memory)
  to.codes.set(from.codes)
  to.items.set(from.items)
  to.objects.set(from.objects)
  to.words.set(from.words)
  const { buffer, byteOffset, byteLength } = from.halves
  writeFileSync(path, Buffer.concat([Buffer.alloc(vectorsAt, 0xee), Buffer.from(buffer, byteOffset, byteLength)]))
  return { ...view, memory, vectors: { path, at: vectorsAt } }
}

/** The answer by the definition: every row, sorted. */
export function naiveHits(
  rows: readonly TestRow[],
  sequence: number,
  query: WireQuery,
  ties: Uint32Array,
): readonly IndexHit[] {
  const best = new Map<number, IndexHit>()
  for (const { item, object, vector, word } of rows) {
    if (!isSeenAt(sequence, word) || item === query.exclude || !isAllowed(query, item)) continue
    const score = dot(query.vector, decodeF16(vector))
    const held = best.get(item)
    if (held === undefined || score > held.score || (score === held.score && object < held.object))
      best.set(item, { item, object, score })
  }
  const sorted = [...best.values()].sort(
    (a, b) => b.score - a.score || ties[a.item]! - ties[b.item]! || a.item - b.item,
  )
  return sorted.slice(0, query.k)
}

/** The table of `visibility`, line by line. */
function isSeenAt(sequence: number, word: number): boolean {
  if (word === 0) return true
  if (word >= 0x80000000) return sequence >= word - 0x80000000
  if (word >= 0x40000000) return sequence < word - 0x40000000
  return sequence < word
}

function isAllowed({ allowed }: WireQuery, item: number): boolean {
  return allowed === null || (((allowed.bits[item >>> 5] ?? 0) >>> (item & 31)) & 1) === 1
}

function meanOf(rows: readonly TestRow[], dims: number): Float32Array {
  const mean = new Float32Array(dims)
  const vector = new Float32Array(dims)
  for (const row of rows) {
    decodeF16(row.vector, vector)
    for (let d = 0; d < dims; d++) mean[d]! += vector[d]! / rows.length
  }
  return mean
}

/** A filter as the owner passes it: its bits in memory that may grow. */
export function allowedOf(items: Iterable<number>, limit: number): NonNullable<WireQuery['allowed']> {
  const bytes = Math.ceil(limit / 32) * 4
  const bits = new Uint32Array(new SharedArrayBuffer(bytes, { maxByteLength: 2 * bytes }))
  let count = 0
  for (const item of items) {
    bits[item >>> 5]! |= 1 << (item & 31)
    count++
  }
  return { bits, count, items: limit }
}

export function tiesFor(
  items: number,
  tie: (item: number) => number = item => Math.imul(item, 2_654_435_761) >>> 0,
): Uint32Array {
  const ties = new Uint32Array(new SharedArrayBuffer(4 * items, { maxByteLength: 8 * items }))
  for (let item = 0; item < items; item++) ties[item] = tie(item)
  return ties
}
