import type { FreshetError } from '../../schemas/errors.ts'
import { ExactIndex } from '../exact-index.ts'
import type { IndexAnswer, IndexQuery, IndexStatistics, VectorIndex } from '../vector-index.ts'
import { type IndexTuning, standardTuning } from './index-tuning.ts'
import type { SavedPart } from './part.ts'

/** What the registers say of a saved row: part of its item's current set, searchable or not, or of none. */
export type RowStanding = 'visible' | 'hidden' | 'garbage'

export interface SegmentedIndexOptions {
  /** Holds row files and graphs. */
  readonly directory: string
  readonly dims: number
  /** Tie keys by item number, over a growable SharedArrayBuffer. */
  readonly ties: Uint32Array
  readonly tuning?: Partial<IndexTuning>
  /** Parts of the checkpoint; empty: a new index. */
  readonly saved: readonly SavedPart[]
  /** Asked once per saved row. */
  readonly standing: (item: number, ordinal: number) => RowStanding
  /** Rows of all current sets by the registers; fewer or more in the parts: `checkpoint-corrupt`. */
  readonly currentRows: number
  /** Part ids are above; those of files that no manifest names must not come again. */
  readonly lastPartId: number
  /** Wall clock, ms since 1970. */
  readonly clock: () => number
  /** Something is wrong and being mended; searches go on. */
  readonly onAlarm: (error: FreshetError) => void
  /** Searches are no longer possible. */
  readonly onFailure: (error: FreshetError) => void
  /** Asked for each query: answer it exactly as well and tell the recall. */
  readonly shouldAudit?: () => boolean
  readonly onAudit?: (audit: { readonly recall: number; readonly effort: number; readonly cpuMs: number }) => void
}

export class SegmentedIndex implements VectorIndex {
  readonly #exact: ExactIndex
  #effort: number

  private constructor(options: SegmentedIndexOptions) {
    this.#exact = new ExactIndex(options)
    this.#effort = { ...standardTuning, ...options.tuning }.effort
  }

  /** @throws FreshetError `checkpoint-corrupt` */
  static async open(options: SegmentedIndexOptions): Promise<SegmentedIndex> {
    return new SegmentedIndex(options)
  }

  /** Graph candidates asked of a part of 200,000 rows. */
  get effort(): number {
    return this.#effort
  }

  setEffort(effort: number): void {
    this.#effort = effort
  }

  put(item: number, set: { readonly vectors: Uint8Array; readonly visible: boolean }): number {
    return this.#exact.put(item, set)
  }

  setVisible(item: number, visible: boolean): void {
    this.#exact.setVisible(item, visible)
  }

  remove(item: number): void {
    this.#exact.remove(item)
  }

  search(query: IndexQuery, signal?: AbortSignal): Promise<IndexAnswer> {
    return this.#exact.search(query, signal)
  }

  searchBatch(queries: readonly IndexQuery[], signal?: AbortSignal): Promise<readonly IndexAnswer[]> {
    return this.#exact.searchBatch(queries, signal)
  }

  vectorOf(item: number, object: number): Float32Array | null {
    return this.#exact.vectorOf(item, object)
  }

  statistics(): IndexStatistics {
    return this.#exact.statistics()
  }

  /**
   * The rows put so far as files: durable when the promise resolves, the picture taken before it is returned. What the
   * manifest then names must be kept as long as the manifest.
   * @throws FreshetError `storage-failed` | `storage-full`
   */
  async partsForCheckpoint(): Promise<readonly SavedPart[]> {
    return []
  }

  /** Names of files that the running index reads or writes: not to be removed, whatever manifests say. */
  partsInUse(): ReadonlySet<string> {
    return new Set()
  }

  /** Merges what there is to merge; `force`: everything into one part. Resolves when done. */
  async compact(_force = false): Promise<void> {}

  /** Nothing is being merged or waiting to be. */
  async settled(): Promise<void> {}

  close(): Promise<void> {
    return this.#exact.close()
  }
}
