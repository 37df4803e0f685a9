import { closeSync, mkdtempSync, openSync, readFileSync, readSync, rmSync, statSync } from 'node:fs'
import { findPackageJSON } from 'node:module'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Index, MetricKind, ScalarKind } from 'usearch'
import { FreshetError } from '../../schemas/errors.ts'
import type { ShardFiles } from '../files/shard-files.ts'
import type { SavedGraph } from './segment.ts'

export interface GraphShape {
  readonly dims: number
  /** Neighbours per node. */
  readonly connectivity: number
  /** Candidates kept while a row is added. */
  readonly expansionAdd: number
}

/** Written into manifests: a graph saved by another version is rebuilt, not viewed. */
export const graphLibrary = `usearch ${libraryVersion()}`

/** The library raises it to the number of candidates asked for, which so is the search effort. */
const expansionSearch = 16

export function graphFileName(id: number): string {
  return `graph-${id}`
}

/**
 * A usearch HNSW graph over i8 vectors being built; keys are row numbers. i8 orders well enough for candidates that
 * are re-scored exactly, and adds 1.4 times as fast as f16 at half the memory. `remove()` of the library is never
 * called: after many removals a saved file crashes the process that opens it.
 */
export class GraphBuilder {
  readonly #dims: number
  readonly #index: Index

  constructor(shape: GraphShape) {
    this.#dims = shape.dims
    this.#index = newIndex(shape)
  }

  /**
   * Of the rows of a graph that was saved, to which more are added: as good as one of all of them, for a part of the
   * work.
   * @throws FreshetError `checkpoint-corrupt` | `storage-failed`
   */
  static async extending(files: ShardFiles, saved: SavedGraph, shape: GraphShape): Promise<GraphBuilder> {
    await files.verify(saved)
    const builder = new GraphBuilder(shape)
    const path = files.path(saved.file)
    try {
      builder.#index.load(path)
    } catch (cause) {
      throw unviewable(path, cause)
    }
    return builder
  }

  get size(): number {
    return this.#index.size()
  }

  /** Adds the next rows, f32 vectors one after another. Blocks, about 0.12 ms a row. */
  add(vectors: Float32Array): void {
    const first = this.size
    const keys = BigUint64Array.from({ length: vectors.length / this.#dims }, (_, row) => BigInt(first + row))
    this.#index.add(keys, vectors, 1)
  }

  /**
   * Writes `graph-<id>`. Blocks, about 0.4 ms per 1,000 rows.
   * @throws FreshetError `storage-full` when the file came out shorter than its own head says: the library does not
   * look at the result of its last write
   */
  async save(files: ShardFiles, id: number): Promise<SavedGraph> {
    const saved = await files.createBy(graphFileName(id), path => saveWhole(this.#index, path))
    return { ...saved, size: this.size, dims: this.#dims, library: graphLibrary }
  }
}

/** A saved graph mapped into memory, for one thread; threads and processes that view a file share its pages. */
export class GraphView {
  readonly #index: Index
  readonly #size: number
  #found = new Uint32Array(256)

  private constructor(index: Index, size: number) {
    this.#index = index
    this.#size = size
  }

  /**
   * The file's checksum must have been verified before: the library crashes the process on most damaged files, and
   * believes the file over its own configuration. The file must never be written to while it is viewed.
   * A file of another user that may be read is viewed too: since 2.26 the library does without O_NOATIME then.
   * @throws FreshetError `checkpoint-corrupt` when it opens but is not the graph that was saved; `storage-failed`
   */
  static open(path: string, { size, dims }: { readonly size: number; readonly dims: number }): GraphView {
    refuseUnreadable(path)
    const index = newIndex({ dims, connectivity: 0, expansionAdd: 0 })
    try {
      index.view(path)
    } catch (cause) {
      throw unviewable(path, cause)
    }
    const view = new GraphView(index, size)
    if (index.size() === size && index.dimensions() === dims) return view
    view.release()
    throw new FreshetError('checkpoint-corrupt', `the graph does not hold ${size} rows of ${dims} dimensions`)
  }

  /** Rows that are probably nearest, best first by their i8 vectors; valid until the next call. Not after `release`. */
  search(query: Float32Array, count: number): Uint32Array {
    const { keys } = this.#index.search(query, Math.min(count, this.#size), 1)
    const found = keys.length
    if (found > this.#found.length) this.#found = new Uint32Array(2 * found)
    // Row numbers are the low halves of the u64 keys; reading them as BigInt takes as long as a tenth of the search.
    const halves = new Uint32Array(keys.buffer, keys.byteOffset, 2 * found)
    for (let i = 0; i < found; i++) this.#found[i] = halves[2 * i]!
    return this.#found.subarray(0, found)
  }

  /**
   * Unmaps the file. The library has no close, and the garbage collector does not know the size of what it maps:
   * viewing a graph without rows does it.
   */
  release(): void {
    const directory = mkdtempSync(join(tmpdir(), 'freshet-graph-'))
    try {
      const empty = join(directory, 'empty')
      newIndex({ dims: this.#index.dimensions(), connectivity: 0, expansionAdd: 0 }).save(empty)
      this.#index.view(empty)
    } finally {
      rmSync(directory, { recursive: true })
    }
  }
}

/** A file that the library cannot open makes it close descriptor 0, and the process end at the next use of that. */
function refuseUnreadable(path: string): void {
  try {
    closeSync(openSync(path, 'r'))
  } catch (cause) {
    throw unviewable(path, cause)
  }
}

function unviewable(path: string, cause: unknown): FreshetError {
  return new FreshetError('storage-failed', `the graph ${path} cannot be viewed`, { cause })
}

function newIndex({ dims, connectivity, expansionAdd }: GraphShape): Index {
  return new Index({
    dimensions: dims,
    metric: MetricKind.Cos,
    quantization: ScalarKind.I8,
    connectivity,
    expansion_add: expansionAdd,
    expansion_search: expansionSearch,
    multi: false,
  })
}

function saveWhole(index: Index, path: string): void {
  try {
    index.save(path)
  } catch (cause) {
    // Without the reason: the file is open by then, so that there is hardly another one than the disk being full.
    const isFull = cause instanceof Error && cause.message === 'Failed to serialize into stream'
    const code = isFull ? 'storage-full' : 'storage-failed'
    throw new FreshetError(code, `the graph of ${index.size()} rows was not written`, { cause })
  }
  if (statSync(path).size !== expectedBytes(path))
    throw new FreshetError('storage-full', `the graph of ${index.size()} rows was not written whole`)
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
