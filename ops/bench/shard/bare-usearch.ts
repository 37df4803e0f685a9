import { statSync } from 'node:fs'
import { exactSearch, Index, MetricKind, ScalarKind } from 'usearch'

/** What a user of the bare library would build: one f16 index of everything. */
const connectivity = 16
const expansionAdd = 128
const rowsPerAdd = 1_000

export interface BareIndexFile {
  readonly path: string
  readonly dims: number
  readonly rows: number
  readonly bytes: number
  readonly buildSeconds: number
}

/** The baseline of the shard benches: usearch alone, called by the thread that measures, with nothing around it. */
export class BareUsearch {
  readonly dims: number
  readonly expansionSearch: number
  readonly #index: Index

  /** Views the file; the expansion is fixed from then on, as the library has it. */
  constructor({ path, dims }: Pick<BareIndexFile, 'path' | 'dims'>, expansionSearch: number) {
    this.dims = dims
    this.expansionSearch = expansionSearch
    this.#index = emptyIndex(dims, expansionSearch)
    this.#index.view(path)
  }

  /** Row numbers, nearest first. */
  search(query: Float32Array, k: number): Uint32Array {
    const { keys } = this.#index.search(query, k, 1)
    return new Uint32Array(keys.buffer, keys.byteOffset, 2 * keys.length).filter((_, i) => i % 2 === 0)
  }
}

/** Builds with one thread, keys being row numbers, and saves. */
export function buildBareUsearch(
  vectors: Float32Array,
  { path, dims }: { readonly path: string; readonly dims: number },
): BareIndexFile {
  const index = emptyIndex(dims, 64)
  const rows = vectors.length / dims
  const began = performance.now()
  for (let row = 0; row < rows; row += rowsPerAdd) {
    const count = Math.min(rowsPerAdd, rows - row)
    const keys = BigUint64Array.from({ length: count }, (_, i) => BigInt(row + i))
    index.add(keys, vectors.subarray(row * dims, (row + count) * dims), 1)
  }
  const buildSeconds = (performance.now() - began) / 1_000
  index.save(path)
  return { path, dims, rows, bytes: statSync(path).size, buildSeconds }
}

/** Queries per call of the library's exact search, which takes 16 bytes per pair of query and row. */
const exactQueries = 20

/** The k nearest rows of each query by comparing with every vector, nearest first, on all cores. */
export function exactNeighbours(
  rows: Float32Array,
  queries: Float32Array,
  { dims, k, rowsPerBlock = 100_000 }: { readonly dims: number; readonly k: number; readonly rowsPerBlock?: number },
): readonly Uint32Array[] {
  const best = Array.from({ length: queries.length / dims }, (): Neighbour[] => [])
  for (let from = 0; from * dims < rows.length; from += rowsPerBlock) {
    // Copies: the library ignores the offset of a view.
    const block = rows.slice(from * dims, (from + rowsPerBlock) * dims)
    const count = Math.min(k, block.length / dims)
    for (let first = 0; first < best.length; first += exactQueries) {
      const some = queries.slice(first * dims, (first + exactQueries) * dims)
      const { keys, distances } = exactSearch(block, some, dims, count, MetricKind.IP)
      for (let i = 0; i < keys.length; i++)
        best[first + Math.floor(i / count)]!.push({ row: from + Number(keys[i]), distance: distances[i]! })
    }
  }
  return best.map(neighbours =>
    Uint32Array.from(neighbours.sort((a, b) => a.distance - b.distance || a.row - b.row).slice(0, k), ({ row }) => row),
  )
}

interface Neighbour {
  readonly row: number
  readonly distance: number
}

function emptyIndex(dims: number, expansionSearch: number): Index {
  return new Index({
    dimensions: dims,
    metric: MetricKind.Cos,
    quantization: ScalarKind.F16,
    connectivity,
    expansion_add: expansionAdd,
    expansion_search: expansionSearch,
    multi: false,
  })
}
