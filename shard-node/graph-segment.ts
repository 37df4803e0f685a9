import { closeSync, openSync, readFileSync, readSync, statSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { Index, MetricKind, ScalarKind } from 'usearch'
import { FreshetError } from '../schemas/errors.ts'
import type { Candidates, Segment } from './segment.ts'

export interface GraphShape {
  readonly dims: number
  /** Neighbours per node. */
  readonly connectivity: number
  readonly expansionAdd: number
  readonly expansionSearch: number
}

/** Written into manifests: a graph saved by another version is rebuilt, not loaded. */
export const graphLibrary = `usearch ${libraryVersion()}`

/**
 * A usearch HNSW graph over i8 vectors. i8 orders well enough for candidates that are re-scored exactly, and adds
 * 1.4 times as fast as f16 at half the memory. `remove()` of the library is never called: after many removals a saved
 * file crashes the process that opens it.
 */
export class GraphSegment implements Segment {
  readonly #shape: GraphShape
  readonly #emptyFile: string
  readonly #index: Index

  /** `emptyFile` is a graph without rows, from `writeEmptyGraph`. */
  constructor(shape: GraphShape, emptyFile: string) {
    this.#shape = shape
    this.#emptyFile = emptyFile
    this.#index = newIndex(shape)
  }

  /**
   * Opens a saved graph. The file's checksum must have been verified before: the library crashes the process on most
   * damaged files, and believes the file over its own configuration.
   * @throws FreshetError `checkpoint-corrupt` when it opens but is not the graph that was saved
   */
  static load(path: string, size: number, shape: GraphShape, emptyFile: string): GraphSegment {
    const segment = new GraphSegment(shape, emptyFile)
    segment.#index.load(path)
    if (segment.size === size && segment.#index.dimensions() === shape.dims) return segment
    segment.release()
    throw new FreshetError('checkpoint-corrupt', `the graph does not hold ${size} rows of ${shape.dims} dimensions`)
  }

  get size(): number {
    return this.#index.size()
  }

  /** i8 components plus, per node, links on the ground level and about a tenth of that above. */
  get memoryBytes(): number {
    return this.#index.capacity() * (this.#shape.dims + this.#shape.connectivity * 2 * 5 + 32)
  }

  add(ordinal: number, vector: Float32Array): void {
    this.#index.add(BigInt(ordinal), vector, 1)
  }

  search(query: Float32Array, count: number): Candidates {
    if (this.size === 0) return { ordinals: [], scores: [] }
    const { keys, distances } = this.#index.search(query, Math.min(count, this.size), 1)
    return { ordinals: Array.from(keys, Number), scores: Array.from(distances, distance => 1 - distance) }
  }

  /**
   * Not in place of a file that anyone reads: the library writes into it. Blocks, about 0.4 ms per 1,000 rows.
   * @throws FreshetError `storage-full` when the file came out shorter than its own head says: the library does not
   * look at the result of its last write.
   */
  save(path: string): void {
    this.#index.save(path)
    if (statSync(path).size !== expectedBytes(path))
      throw new FreshetError('storage-full', `the graph of ${this.size} rows was not written whole`)
  }

  /** The library has no close, and the garbage collector does not see its memory: loading an empty graph frees it. */
  release(): void {
    this.#index.load(this.#emptyFile)
  }
}

export function writeEmptyGraph(path: string, shape: GraphShape): void {
  newIndex(shape).save(path)
}

function newIndex(shape: GraphShape): Index {
  return new Index({
    dimensions: shape.dims,
    metric: MetricKind.Cos,
    quantization: ScalarKind.I8,
    connectivity: shape.connectivity,
    expansion_add: shape.expansionAdd,
    expansion_search: shape.expansionSearch,
    multi: false,
  })
}

/**
 * Length of a saved graph by its own head: rows and columns (u32 each), the vectors, 64 bytes about the dense index,
 * five u64 (size, connectivity, that of the ground level, two unused here), a level (i16) per node, then per node a
 * key (u64), its level (i16) and a counted list of u32 per level. Source: usearch 2.26, `save_to_stream`.
 */
function expectedBytes(path: string): number {
  const file = openSync(path, 'r')
  try {
    const matrix = readAt(file, 0, 8)
    const head = 8 + matrix.readUInt32LE(0) * matrix.readUInt32LE(4) + 64
    const numbers = readAt(file, head, 40)
    const [size, above, ground] = [0, 8, 16].map(at => Number(numbers.readBigUInt64LE(at))) as [number, number, number]
    const levels = readAt(file, head + 40, size * 2)
    let bytes = head + 40 + size * (2 + 10 + 4 + ground * 4)
    for (let node = 0; node < size; node++) bytes += levels.readInt16LE(node * 2) * (4 + above * 4)
    return bytes
  } finally {
    closeSync(file)
  }
}

/** Zeroes stand for what the file lacks, so that a short file never matches its head. */
function readAt(file: number, position: number, length: number): Buffer {
  const bytes = Buffer.alloc(length)
  readSync(file, bytes, 0, length, position)
  return bytes
}

function libraryVersion(): string {
  const manifest = findPackageJSON('usearch', import.meta.url)
  if (manifest === undefined) throw new FreshetError('internal', 'the usearch package has no package.json')
  return (JSON.parse(readFileSync(manifest, 'utf8')) as { version: string }).version
}
