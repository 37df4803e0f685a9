import { setImmediate as nextTurn } from 'node:timers/promises'
import { FreshetError } from '../../schemas/errors.ts'
import { decodeF16 } from '../../schemas/unit-vector.ts'
import type { ShardFiles } from '../files/shard-files.ts'
import { columnsOf, createRowMemory, type RowColumns, type RowMemoryHandle } from '../kernel/row-memory.ts'
import { WasmKernel } from '../kernel/wasm-kernel.ts'
import type { BuildInput, BuildRequest } from './build-messages.ts'
import { GraphBuilder, type GraphShape } from './graph-file.ts'
import { type RowNumbers, readRowNumbers, readVectors, writeRows } from './rows-file.ts'
import type { SavedGraph, SavedRows, SavedSegment } from './segment.ts'

/** Rows added to the graph between two turns of the event loop: 30 to 60 ms. */
const rowsPerTurn = 256
const dropped = 0xffffffff

/** Rows done of all rows. */
export type OnBuildProgress = (rows: number, of: number) => void

/**
 * Merges the kept rows of the inputs, sorted by item, then object, into a segment with a mean and codes of its own; the
 * same request gives the same rows file. Holds the new segment's vectors in memory once, and of the inputs only numbers.
 */
export async function buildSegment(
  files: ShardFiles,
  request: BuildRequest,
  onProgress: OnBuildProgress,
): Promise<SavedSegment> {
  const merge = await RowMerge.of(files, request.inputs)
  const mean = await merge.copyVectors(files)
  new WasmKernel(merge.memory, 0).encode(0, merge.rows, mean)
  const writing = writeRows(files, request.id, {
    order: 'item',
    rows: merge.rows,
    columns: merge.columns,
    mean,
    ordinals: merge.ordinals,
    items: Math.max(...request.inputs.map(input => input.rows.items)),
  })
  if (request.graph !== null) return buildGraph(files, request, { merge, writing }, onProgress)
  const rows = await writing
  onProgress(merge.rows, merge.rows)
  return { id: request.id, rows, graph: null }
}

/** Where each kept row goes, and the block of memory it goes to. */
class RowMerge {
  readonly rows: number
  readonly memory: RowMemoryHandle
  readonly columns: RowColumns
  readonly ordinals: Float64Array
  readonly #inputs: readonly BuildInput[]
  /** By input and row: the row's place in the new segment, or `dropped`. */
  readonly #places: readonly Uint32Array[]

  static async of(files: ShardFiles, inputs: readonly BuildInput[]): Promise<RowMerge> {
    const numbers: RowNumbers[] = []
    for (const input of inputs) numbers.push(await readRowNumbers(files, input.rows))
    return new RowMerge(inputs, numbers)
  }

  private constructor(inputs: readonly BuildInput[], numbers: readonly RowNumbers[]) {
    const sources = sortedSources(inputs, numbers)
    const dims = inputs[0]!.rows.dims
    this.rows = sources.inputs.length
    this.memory = createRowMemory({ dims, capacity: this.rows, items: 32, vectors: true, threads: 1 })
    this.columns = columnsOf(this.memory)
    this.ordinals = new Float64Array(this.rows)
    this.#inputs = inputs
    this.#places = inputs.map(input => new Uint32Array(input.rows.rows).fill(dropped))
    for (let place = 0; place < this.rows; place++) {
      const input = sources.inputs[place]!
      const row = sources.rows[place]!
      const { items, objects, ordinals } = numbers[input]!
      this.columns.items[place] = items[row]!
      this.columns.objects[place] = objects[row]!
      this.ordinals[place] = ordinals[row]!
      this.#places[input]![row] = place
    }
    this.#refuseTwins()
  }

  /** Copies the vectors to their places; gives their mean. */
  async copyVectors(files: ShardFiles): Promise<Float32Array> {
    const { dims } = this.columns.shape
    const sums = new Float64Array(dims)
    const vector = new Float32Array(dims)
    for (const [i, input] of this.#inputs.entries()) {
      const places = this.#places[i]!
      await readVectors(files, input.rows, (first, halves) => {
        for (let row = 0; row < halves.length / dims; row++) {
          const place = places[first + row]!
          if (place === dropped) continue
          const from = halves.subarray(row * dims, (row + 1) * dims)
          this.columns.halves.set(from, place * dims)
          decodeF16(bytesOf(from), vector)
          for (let d = 0; d < dims; d++) sums[d]! += vector[d]!
        }
      })
    }
    return Float32Array.from(sums, sum => sum / this.rows)
  }

  /** Of the input whose rows are the first ones here, each with the number it had: true of old rows when all items are new. */
  get firstGraph(): SavedGraph | null {
    const isFirst = (places: Uint32Array): boolean => places.every((place, row) => place === row)
    const first = this.#places.findIndex((places, i) => this.#inputs[i]!.graph !== null && isFirst(places))
    return this.#inputs[first]?.graph ?? null
  }

  #refuseTwins(): void {
    const { items, objects } = this.columns
    for (let row = 1; row < this.rows; row++)
      if (items[row] === items[row - 1] && objects[row] === objects[row - 1])
        throw new FreshetError('internal', `two rows of object ${objects[row]} of item ${items[row]} are to be kept`)
  }
}

/** Input and row of each kept row, sorted by item, then object. */
function sortedSources(
  inputs: readonly BuildInput[],
  numbers: readonly RowNumbers[],
): { readonly inputs: Uint32Array; readonly rows: Uint32Array } {
  const kept = inputs.map(({ rows, keep }) => rowsOf(keep, rows.rows))
  const count = kept.reduce((sum, rows) => sum + rows.length, 0)
  if (count === 0) throw new FreshetError('internal', 'no row is to be kept')
  const keys = new Float64Array(count)
  const inputOf = new Uint32Array(count)
  const rowOf = new Uint32Array(count)
  let next = 0
  for (const [input, rows] of kept.entries()) {
    const { items, objects } = numbers[input]!
    for (const row of rows) {
      keys[next] = items[row]! * 256 + objects[row]!
      inputOf[next] = input
      rowOf[next++] = row
    }
  }
  const order = Uint32Array.from({ length: count }, (_, i) => i).sort((a, b) => keys[a]! - keys[b]!)
  return { inputs: order.map(at => inputOf[at]!), rows: order.map(at => rowOf[at]!) }
}

function rowsOf(keep: Uint8Array, rows: number): number[] {
  const kept: number[] = []
  for (let row = 0; row < rows; row++) if ((keep[row >> 3]! >> (row & 7)) & 1) kept.push(row)
  return kept
}

/** While the rows are written; nothing more is added once that has failed. */
async function buildGraph(
  files: ShardFiles,
  { id, graph }: BuildRequest,
  { merge, writing }: { readonly merge: RowMerge; readonly writing: Promise<SavedRows> },
  onProgress: OnBuildProgress,
): Promise<SavedSegment> {
  const { shape, halves } = merge.columns
  const { dims, capacity: rows } = shape
  let hasFailed = false
  writing.catch(() => {
    hasFailed = true
  })
  const builder = await graphBuilder(files, merge.firstGraph, { dims, ...graph! })
  for (let from = builder.size; from < rows && !hasFailed; from += rowsPerTurn) {
    const to = Math.min(from + rowsPerTurn, rows)
    builder.add(decodeF16(bytesOf(halves.subarray(from * dims, to * dims))))
    onProgress(to, rows)
    await nextTurn()
  }
  return { id, rows: await writing, graph: await builder.save(files, id) }
}

/** A graph that cannot be extended is built anew, as one that cannot be viewed is: it is a cache. */
async function graphBuilder(files: ShardFiles, first: SavedGraph | null, shape: GraphShape): Promise<GraphBuilder> {
  if (first === null) return new GraphBuilder(shape)
  return GraphBuilder.extending(files, first, shape).catch(() => new GraphBuilder(shape))
}

function bytesOf(halves: Uint16Array): Uint8Array {
  return new Uint8Array(halves.buffer, halves.byteOffset, halves.byteLength)
}
