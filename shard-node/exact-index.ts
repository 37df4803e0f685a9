import { FreshetError } from '../schemas/errors.ts'
import { decodeF16, dot, norm } from '../schemas/unit-vector.ts'
import type { IndexAnswer, IndexHit, IndexQuery, IndexStatistics, VectorIndex } from './vector-index.ts'

interface ItemSet {
  readonly vectors: readonly Float32Array[]
  visible: boolean
}

/**
 * The oracle: a map of sets, every visible vector compared with every query. A search is computed before its promise
 * is returned, so it sees one moment.
 */
export class ExactIndex implements VectorIndex {
  readonly #dims: number
  readonly #ties: Uint32Array
  readonly #sets = new Map<number, ItemSet>()
  #nextOrdinal = 0
  #closed = false

  /** `ties`: tie keys by item number, read at each search. */
  constructor(options: { readonly dims: number; readonly ties: Uint32Array }) {
    this.#dims = options.dims
    this.#ties = options.ties
  }

  put(item: number, set: { readonly vectors: Uint8Array; readonly visible: boolean }): number {
    const rowBytes = this.#dims * 2
    const vectors: Float32Array[] = []
    for (let at = 0; at < set.vectors.length; at += rowBytes)
      vectors.push(decodeF16(set.vectors.subarray(at, at + rowBytes)))
    this.#sets.set(item, { vectors, visible: set.visible })
    const ordinal = this.#nextOrdinal
    this.#nextOrdinal += vectors.length
    return ordinal
  }

  setVisible(item: number, visible: boolean): void {
    const set = this.#sets.get(item)
    if (set !== undefined) set.visible = visible
  }

  remove(item: number): void {
    this.#sets.delete(item)
  }

  async search(query: IndexQuery, signal?: AbortSignal): Promise<IndexAnswer> {
    this.#requireOpen(signal)
    return this.answer(query)
  }

  async searchBatch(queries: readonly IndexQuery[], signal?: AbortSignal): Promise<readonly IndexAnswer[]> {
    this.#requireOpen(signal)
    return queries.map(query => this.answer(query))
  }

  vectorOf(item: number, object: number): Float32Array | null {
    const set = this.#sets.get(item)
    return set?.visible ? (set.vectors[object]?.slice() ?? null) : null
  }

  statistics(): IndexStatistics {
    const norms = [...this.#visible()].flatMap(([, set]) => set.vectors.map(norm))
    const bytes = norms.length * this.#dims * 4
    return {
      rows: norms.length,
      tombstones: 0,
      graphs: 0,
      segments: 1,
      scannedRows: norms.length,
      memoryBytes: bytes,
      diskBytes: 0,
      normMin: norms.reduce((least, each) => Math.min(least, each), norms[0] ?? 0),
      normMax: norms.reduce((most, each) => Math.max(most, each), 0),
      normMean: norms.length === 0 ? 0 : norms.reduce((sum, each) => sum + each, 0) / norms.length,
    }
  }

  async close(): Promise<void> {
    this.#closed = true
  }

  /** As `search`, at once. */
  answer(query: IndexQuery): IndexAnswer {
    const hits: IndexHit[] = []
    let scored = 0
    let items = 0
    for (const [item, set] of this.#visible()) {
      items++
      if (item === query.exclude || !isAllowed(query, item)) continue
      scored += set.vectors.length
      hits.push(bestOf(item, set.vectors, query.vector))
    }
    hits.sort((a, b) => b.score - a.score || this.#ties[a.item]! - this.#ties[b.item]! || a.item - b.item)
    const selectivity = query.allowed === null ? 1 : Math.min(1, query.allowed.count / Math.max(1, items))
    return {
      hits: hits.slice(0, query.k),
      complete: hits.length <= query.k,
      plan: { kind: 'exact', selectivity, effort: 0, segments: [{ rows: scored, by: 'vectors', scored }] },
    }
  }

  #requireOpen(signal: AbortSignal | undefined): void {
    if (this.#closed) throw new FreshetError('not-ready', 'the index is closed')
    signal?.throwIfAborted()
  }

  *#visible(): Iterable<[number, ItemSet]> {
    for (const entry of this.#sets) if (entry[1].visible) yield entry
  }
}

function isAllowed({ allowed }: IndexQuery, item: number): boolean {
  return allowed === null || ((allowed.bits[item >>> 5] ?? 0) & (1 << (item & 31))) !== 0
}

/** Of equal objects the first. */
function bestOf(item: number, vectors: readonly Float32Array[], query: Float32Array): IndexHit {
  let best: IndexHit = { item, object: 0, score: Number.NEGATIVE_INFINITY }
  vectors.forEach((vector, object) => {
    const score = dot(query, vector)
    if (score > best.score) best = { item, object, score }
  })
  return best
}
