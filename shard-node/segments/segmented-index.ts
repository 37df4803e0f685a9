import { setTimeout as delay } from 'node:timers/promises'
import { FreshetError } from '../../schemas/errors.ts'
import type { OnDiskStep } from '../files/disk-steps.ts'
import { ShardFiles } from '../files/shard-files.ts'
import { collectGarbage } from '../search/collect-garbage.ts'
import type { Audit, WireQuery } from '../search/search-messages.ts'
import { SearchPool } from '../search/search-pool.ts'
import type { IndexAnswer, IndexQuery, IndexStatistics, VectorIndex } from '../vector-index.ts'
import { Compactor } from './compactor.ts'
import type { IndexPart } from './index-part.ts'
import { IndexRows } from './index-rows.ts'
import { type IndexTuning, standardTuning } from './index-tuning.ts'
import type { SavedPart } from './part.ts'
import { PartFiles } from './part-files.ts'
import { type Registers, type RestoredRows, restoreRows, type SavedRowsRead } from './restore-rows.ts'

export interface SegmentedIndexOptions extends Registers {
  /** Holds row files and graphs. */
  readonly directory: string
  readonly onDiskStep?: OnDiskStep
  readonly dims: number
  /** Tie keys by item number, over a growable SharedArrayBuffer. */
  readonly ties: Uint32Array
  /** What is left out is as in `standardTuning`. */
  readonly tuning?: Partial<IndexTuning>
  /** Parts of the checkpoint; empty: a new index. */
  readonly saved: readonly SavedPart[]
  /** New parts get larger ids: at least the largest of any file in the directory. */
  readonly lastPartId: number
  /** Something is wrong and being mended; searches go on. */
  readonly onAlarm: (error: FreshetError) => void
  /** Once: no search is possible any more. */
  readonly onFailure: (error: FreshetError) => void
  /** Asked for each query that is not exact: answer it exactly as well, and tell the recall. */
  readonly shouldAudit?: () => boolean
  readonly onAudit?: (audit: Audit) => void
}

/** What `open` has made and read. */
interface Opened {
  readonly tuning: IndexTuning
  readonly files: ShardFiles
  readonly partFiles: PartFiles
  readonly newPartId: () => number
  readonly restored: RestoredRows
}

/** Garbage is looked at for compaction once per so many changes. */
const changesPerLook = 1_024
const rebasePollMs = 1
/** Memory of dropped parts may lie about up to this, and up to this share of what is in use: collecting it takes 10 to 30 ms. */
const collectedFromBytes = 16 * 2 ** 20
const collectedRatio = 0.15

/**
 * The index as a list of parts: rows are written to one in memory, searched by threads that read the same memory, and
 * merged in the background into ever larger parts with graphs.
 */
export class SegmentedIndex implements VectorIndex {
  readonly #options: SegmentedIndexOptions
  readonly #tuning: IndexTuning
  readonly #files: ShardFiles
  readonly #partFiles: PartFiles
  readonly #rows: IndexRows
  readonly #pool: SearchPool
  readonly #compactor: Compactor
  /** Layouts that some search thread may not have opened yet, oldest first; the parts of each. */
  #opening: (readonly IndexPart[])[] = []
  #effort: number
  #changes = 0
  /** Memory of parts that were let go since garbage was collected last. */
  #droppedBytes = 0
  /** Searches wait for it. */
  #rebasing: Promise<void> | null = null
  #isClosed = false

  /**
   * Reads and verifies the saved parts.
   * @throws FreshetError `checkpoint-corrupt` | `storage-failed` when their rows cannot be used
   */
  static async open(options: SegmentedIndexOptions): Promise<SegmentedIndex> {
    const tuning = { ...standardTuning, ...options.tuning }
    const { threads, kind } = tuning
    const files = new ShardFiles(options.directory, options.onDiskStep)
    let lastPartId = Math.max(options.lastPartId, ...options.saved.map(({ id }) => id))
    const newPartId = (): number => ++lastPartId
    const partFiles = new PartFiles({ files, threads, kind, newPartId, onAlarm: options.onAlarm })
    const read: SavedRowsRead[] = []
    for (const saved of options.saved) read.push(await partFiles.read(saved))
    const restored = restoreRows(read, options)
    const index = new SegmentedIndex(options, { tuning, files, partFiles, newPartId, restored })
    await index.#begin()
    return index
  }

  private constructor(options: SegmentedIndexOptions, { tuning, files, partFiles, newPartId, restored }: Opened) {
    const { dims, ties, onAlarm, onAudit = () => {} } = options
    const { threads, logRows } = tuning
    this.#options = options
    this.#tuning = tuning
    this.#files = files
    this.#partFiles = partFiles
    this.#effort = tuning.effort
    const onLayout = (): void => this.#layoutChanged()
    this.#rows = new IndexRows({ dims, threads, logRows, newPartId, onLayout }, restored)
    this.#compactor = new Compactor({ rows: this.#rows, files, partFiles, tuning, newPartId, onAlarm })
    this.#pool = new SearchPool({
      dims,
      threads,
      ties,
      onAudit,
    })
  }

  /** Graph candidates asked of a part of 200,000 rows. */
  get effort(): number {
    return this.#effort
  }

  setEffort(effort: number): void {
    this.#effort = effort
  }

  /** While visibilities are renumbered: a search sent meanwhile is as of its end. Null: a search sent now is of now. */
  get renumbering(): Promise<void> | null {
    return this.#rebasing
  }

  put(item: number, set: { readonly vectors: Uint8Array; readonly visible: boolean }): number {
    const ordinal = this.#rows.put(item, set)
    this.#changed()
    return ordinal
  }

  setVisible(item: number, visible: boolean): void {
    this.#rows.setVisible(item, visible)
    this.#changed()
  }

  remove(item: number): void {
    this.#rows.remove(item)
    this.#changed()
  }

  async search(query: IndexQuery, signal?: AbortSignal): Promise<IndexAnswer> {
    const [answer] = await this.#send([query], signal)
    return answer!
  }

  searchBatch(queries: readonly IndexQuery[], signal?: AbortSignal): Promise<readonly IndexAnswer[]> {
    return this.#send(queries, signal)
  }

  /** @throws FreshetError `storage-failed`: of the compressed kind, whose vectors lie on disk */
  vectorOf(item: number, object: number): Float32Array | null {
    const set = this.#rows.locate(item)
    if (set === null || object >= set.count || !this.#rows.isVisible(set)) return null
    return set.part.vectorAt(set.row + object, this.#files)
  }

  statistics(): IndexStatistics {
    const parts = this.#rows.parts.filter(part => part.rows > 0)
    const sum = (of: (part: IndexPart) => number): number => parts.reduce((total, part) => total + of(part), 0)
    const rows = sum(part => part.rows - part.garbage)
    return {
      rows: this.#rows.visibleRows,
      tombstones: sum(part => part.garbage),
      graphs: sum(part => (part.graph === null ? 0 : 1)),
      segments: parts.length,
      scannedRows: sum(part => (part.graph === null ? part.rows : 0)),
      memoryBytes: this.#rows.tableBytes + this.#rows.parts.reduce((total, part) => total + part.memoryBytes, 0),
      diskBytes: sum(part => part.diskBytes),
      normMin: parts.reduce((least, { norms }) => Math.min(least, norms.min), parts[0]?.norms.min ?? 0),
      normMax: parts.reduce((most, { norms }) => Math.max(most, norms.max), 0),
      normMean: sum(part => (part.rows - part.garbage) * part.norms.mean) / Math.max(1, rows),
    }
  }

  /**
   * The rows put so far as files: the picture is taken before the promise is returned, all of it durable once that
   * resolves. One call at a time. The caller keeps the files while a manifest names them.
   * @throws FreshetError `storage-failed` | `storage-full`
   */
  partsForCheckpoint(): Promise<readonly SavedPart[]> {
    const picture = this.#rows.parts.filter(part => part.rows > 0).map(part => ({ part, rows: part.rows }))
    return Promise.all(picture.map(({ part, rows }) => this.#partFiles.save(part, rows)))
  }

  /**
   * Names of files that the running index reads, writes or is about to read: not to be removed, whatever manifests
   * say. True only until other work of this thread goes on: ask after listing the directory.
   */
  partsInUse(): ReadonlySet<string> {
    const parts = new Set([...this.#rows.parts, ...this.#opening.flat()])
    const saved = [...parts].flatMap(part => (part.saved === null ? [] : filesOf(part.saved)))
    return new Set([...saved, ...this.#partFiles.writing, ...this.#compactor.building])
  }

  /** Merges everything into one part without garbage; `false`: what is worth it. Resolves when done. */
  async compact(force = false): Promise<void> {
    if (force) return this.#compactor.force()
    this.#compactor.wake()
    await this.#compactor.settled()
  }

  /** Resolves when nothing is being merged or waiting to be. */
  settled(): Promise<void> {
    return this.#compactor.settled()
  }

  async close(): Promise<void> {
    this.#isClosed = true
    await Promise.all([this.#compactor.close(), this.#pool.close()])
  }

  async #begin(): Promise<void> {
    try {
      await this.#layOut()
    } catch (thrown) {
      await this.close()
      throw thrown
    }
    this.#pool.failed.then(error => {
      if (!this.#isClosed) this.#options.onFailure(error)
    })
    this.#compactor.wake()
  }

  async #send(queries: readonly IndexQuery[], signal: AbortSignal | undefined): Promise<readonly IndexAnswer[]> {
    signal?.throwIfAborted()
    if (this.#rebasing !== null) await this.#rebasing
    if (this.#isClosed) throw new FreshetError('not-ready', 'the index is closed')
    const wired = queries.map(query => this.#wired(query))
    return this.#pool.search(this.#rows.snapshot, wired, signal)
  }

  #wired({ vector, k, exact, allowed, exclude }: IndexQuery): WireQuery {
    const { shouldAudit = () => false } = this.#options
    return {
      vector,
      k,
      exact,
      allowed: allowed === null ? null : { ...allowed, items: this.#rows.visibleItems },
      exclude,
      effort: this.#effort,
      audit: !exact && shouldAudit(),
    }
  }

  #changed(): void {
    if (++this.#changes % changesPerLook === 0) this.#compactor.wake()
    if (this.#rebasing !== null || this.#rows.snapshot.sequence < this.#tuning.sequenceLimit) return
    this.#rebasing = this.#rebase().finally(() => {
      this.#rebasing = null
    })
  }

  async #rebase(): Promise<void> {
    while (this.#pool.inFlight > 0 && !this.#isClosed) await delay(rebasePollMs)
    if (!this.#isClosed) this.#rows.rebase()
  }

  #layoutChanged(): void {
    // A layout that cannot be opened is the pool's failure, and told as such.
    this.#layOut().catch(() => undefined)
    this.#compactor.wake()
  }

  /** Tells the search threads the parts; files of former ones may go once all threads have opened these. */
  async #layOut(): Promise<void> {
    const { parts } = this.#rows
    this.#opening.push(parts)
    const last = parts.length - 1
    const views = parts.map((part, i) => part.view(this.#files, i === last ? part.memory.shape.capacity : part.rows))
    await this.#pool.setLayout(views)
    const former = this.#opening.slice(0, this.#opening.indexOf(parts))
    this.#opening = this.#opening.slice(former.length)
    const kept = new Set(this.#opening.flat())
    this.#letGo(new Set(former.flat().filter(part => !kept.has(part))))
  }

  /** Row memory is given back by the garbage collector alone, which does not come for it by itself. */
  #letGo(parts: ReadonlySet<IndexPart>): void {
    for (const part of parts) this.#droppedBytes += part.memoryBytes
    if (this.#droppedBytes < Math.max(collectedFromBytes, collectedRatio * this.statistics().memoryBytes)) return
    this.#droppedBytes = 0
    setImmediate(collectGarbage)
  }
}

function filesOf({ rows, graph }: SavedPart): readonly string[] {
  return graph === null ? [rows.file] : [rows.file, graph.file]
}
