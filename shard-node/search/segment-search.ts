import type { RowKernel } from '../kernel/row-kernel.ts'
import { visibility } from '../kernel/row-memory.ts'
import { WasmKernel } from '../kernel/wasm-kernel.ts'
import { GraphView } from '../segments/graph-file.ts'
import type { SegmentView } from '../segments/segment.ts'
import type { AllowedItems } from './allowed-items.ts'
import { ItemDirectory } from './item-directory.ts'
import { StoredVectors, type VectorScratch } from './stored-vectors.ts'

export interface SegmentOpening {
  readonly dims: number
  readonly thread: number
  /** Asked when vectors lie on disk. */
  readonly scratch: () => VectorScratch
}

/** Rows are counted again after one change per so many of them: their unseen share is wrong by no more. */
const rowsPerRecount = 64

/** A segment as one search thread sees it: the rows it shares with all others, and its own view of the graph. */
export class SegmentSearch {
  readonly kernel: RowKernel
  readonly graph: GraphView | null
  readonly #view: SegmentView
  readonly #stored: StoredVectors | null
  #directory: ItemDirectory | null = null
  #unseen = { share: 0, since: 0, until: 0 }

  /** @throws FreshetError `checkpoint-corrupt` | `storage-failed` when the graph or the vectors cannot be opened */
  constructor(view: SegmentView, { dims, thread, scratch }: SegmentOpening) {
    this.#view = view
    this.kernel = new WasmKernel(view.memory, thread)
    this.graph = view.graph && GraphView.open(view.graph.path, { size: view.graph.size, dims })
    this.#stored = view.vectors && new StoredVectors(view.vectors, dims, scratch())
  }

  /** Whether it can stand for a view of the same id: a segment may get a graph, or a rebuilt one. */
  serves({ graph }: SegmentView): boolean {
    return graph?.path === this.#view.graph?.path
  }

  get memoryBytes(): number {
    return this.#view.memory.memory.buffer.byteLength
  }

  /** Of the rows, the share that a search of this sequence does not see, roughly. */
  unseenShare(sequence: number): number {
    if (sequence < this.#unseen.since || sequence >= this.#unseen.until) this.#recount(sequence)
    return this.#unseen.share
  }

  /** Of the first `rows` rows those whose items are allowed, ascending. Valid until the next call. */
  rowsOf(allowed: AllowedItems, rows: number): Uint32Array {
    const { items } = this.kernel.columns
    if (this.#view.order === 'log') return allowed.rowsOf(items.subarray(0, rows))
    this.#directory ??= new ItemDirectory(items.subarray(0, rows), this.#view.memory.shape.items)
    return this.#directory.rowsOf(allowed.bits)
  }

  /** Before rows are scanned or scored. */
  prepare(query: Float32Array): void {
    this.kernel.prepare(query, this.#view.mean)
    this.#stored?.prepare(query)
  }

  /** See `RowKernel`. @throws FreshetError `storage-failed` */
  score(rows: Uint32Array): Float32Array {
    return this.#stored === null ? this.kernel.score(rows) : this.#stored.score(rows)
  }

  /** See `RowKernel`. @throws FreshetError `storage-failed` */
  scoreRange(from: number, to: number): Float32Array {
    return this.#stored === null ? this.kernel.scoreRange(from, to) : this.#stored.scoreRange(from, to)
  }

  /** Memory and graph are the garbage collector's; a file is not. */
  close(): void {
    this.#stored?.close()
  }

  #recount(sequence: number): void {
    const { rows } = this.#view
    const { words } = this.kernel.columns
    let unseen = 0
    for (let row = 0; row < rows; row++) if (!isSeen(words[row]!, sequence)) unseen++
    this.#unseen = { share: unseen / Math.max(1, rows), since: sequence, until: sequence + rows / rowsPerRecount }
  }
}

/** A segment of a layout, as far as a snapshot has it. */
export interface SearchedSegment {
  readonly segment: SegmentSearch
  readonly rows: number
}

/** See `visibility`. */
export function isSeen(word: number, sequence: number): boolean {
  if (word === 0) return true
  const changed = word & visibility.sequenceMask
  return (word & visibility.bornBit) !== 0 ? sequence >= changed : sequence < changed
}
