import { setTimeout as delay } from 'node:timers/promises'
import { FreshetError } from '../../schemas/errors.ts'
import type { OnDiskStep } from '../files/disk-steps.ts'
import { ShardFiles } from '../files/shard-files.ts'
import { collectGarbage } from '../search/collect-garbage.ts'
import type { Audit, WireQuery } from '../search/search-messages.ts'
import { SearchPool } from '../search/search-pool.ts'
import type { IndexAnswer, IndexQuery, IndexStatistics, VectorIndex } from '../vector-index.ts'
import { Compactor } from './compactor.ts'
import { IndexRows } from './index-rows.ts'
import type { IndexSegment } from './index-segment.ts'
import { type IndexTuning, tuningOf } from './index-tuning.ts'
import { type Registers, type RestoredRows, restoreRows, type SavedRowsRead } from './restore-rows.ts'
import type { SavedSegment } from './segment.ts'
import { SegmentFiles } from './segment-files.ts'

export interface SegmentedIndexOptions extends Registers {
  /** Holds row files and graphs. */
  readonly directory: string
  readonly onDiskStep?: OnDiskStep
  readonly dims: number
  /** Tie keys by item number, over a growable SharedArrayBuffer. */
  readonly ties: Uint32Array
  /** What is left out is as in `tuningOf` its kind. */
  readonly tuning?: Partial<IndexTuning>
  /** Segments of the checkpoint; empty: a new index. */
  readonly saved: readonly SavedSegment[]
  /** New segments get larger ids: at least the largest of any file in the directory. */
  readonly lastSegmentId: number
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
  readonly pool: SearchPool
  readonly files: ShardFiles
  readonly segmentFiles: SegmentFiles
  readonly newSegmentId: () => number
  readonly restored: RestoredRows
}

/** Garbage is looked at for compaction once per so many changes. */
const changesPerLook = 1_024
/** With no more it is calm. */
const calmChangesPerSecond = 32
const rebasePollMs = 1
/** Memory of dropped segments may lie about up to this, and up to this share of what is in use: collecting it takes 10 to 30 ms. */
const collectedFromBytes = 16 * 2 ** 20
const collectedRatio = 0.15

/**
 * The index as a list of segments: rows are written to one in memory, searched by threads that read the same memory, and
 * merged in the background into ever larger segments with graphs.
 */
export class SegmentedIndex implements VectorIndex {
  readonly #options: SegmentedIndexOptions
  readonly #tuning: IndexTuning
  readonly #files: ShardFiles
  readonly #segmentFiles: SegmentFiles
  readonly #rows: IndexRows
  readonly #pool: SearchPool
  readonly #compactor: Compactor
  /** Layouts that some search thread may not have opened yet, oldest first; the segments of each. */
  #opening: (readonly IndexSegment[])[] = []
  #effort: number
  #changes = 0
  #calmLook: NodeJS.Timeout | null = null
  /** Memory of segments that were let go since garbage was collected last. */
  #droppedBytes = 0
  /** Searches wait for it. */
  #rebasing: Promise<void> | null = null
  #isClosed = false

  /**
   * Reads and verifies the saved segments.
   * @throws FreshetError `checkpoint-corrupt` | `storage-failed` when their rows cannot be used
   */
  static async open(options: SegmentedIndexOptions): Promise<SegmentedIndex> {
    const tuning = { ...tuningOf(options.tuning?.kind ?? 'standard'), ...options.tuning }
    const { threads, kind } = tuning
    const files = new ShardFiles(options.directory, options.onDiskStep)
    let lastSegmentId = Math.max(options.lastSegmentId, ...options.saved.map(({ id }) => id))
    const newSegmentId = (): number => ++lastSegmentId
    const segmentFiles = new SegmentFiles({ files, threads, kind, newSegmentId, onAlarm: options.onAlarm })
    const { dims, ties, onAudit = () => {} } = options
    // The threads start, which takes them as long as a large segment takes to read, while the segments are read.
    const pool = new SearchPool({ dims, threads, ties, onAudit })
    let restored: RestoredRows
    try {
      const read: SavedRowsRead[] = []
      for (const saved of options.saved) read.push(await segmentFiles.read(saved))
      restored = restoreRows(read, options)
    } catch (thrown) {
      await pool.close()
      throw thrown
    }
    const index = new SegmentedIndex(options, { tuning, pool, files, segmentFiles, newSegmentId, restored })
    await index.#begin()
    return index
  }

  private constructor(options: SegmentedIndexOptions, opened: Opened) {
    const { dims, onAlarm } = options
    const { tuning, pool, files, segmentFiles, newSegmentId, restored } = opened
    const { threads, logRows } = tuning
    this.#options = options
    this.#tuning = tuning
    this.#files = files
    this.#segmentFiles = segmentFiles
    this.#effort = tuning.effort
    const onLayout = (): void => this.#layoutChanged()
    this.#rows = new IndexRows({ dims, threads, logRows, newSegmentId, onLayout }, restored)
    this.#compactor = new Compactor({ rows: this.#rows, files, segmentFiles, tuning, newSegmentId, onAlarm })
    this.#pool = pool
  }

  /** Graph candidates asked of a segment of 200,000 rows. */
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
    return set.segment.vectorAt(set.row + object, this.#files)
  }

  statistics(): IndexStatistics {
    const segments = this.#rows.segments.filter(segment => segment.rows > 0)
    const sum = (of: (segment: IndexSegment) => number): number =>
      segments.reduce((total, segment) => total + of(segment), 0)
    const rows = sum(segment => segment.rows - segment.garbage)
    return {
      rows: this.#rows.visibleRows,
      tombstones: sum(segment => segment.garbage),
      graphs: sum(segment => (segment.graph === null ? 0 : 1)),
      segments: segments.length,
      scannedRows: sum(segment => (segment.graph === null ? segment.rows : 0)),
      memoryBytes: this.#rows.segments.reduce((total, segment) => total + segment.memoryBytes, 0),
      diskBytes: sum(segment => segment.diskBytes),
      normMin: segments.reduce((least, { norms }) => Math.min(least, norms.min), segments[0]?.norms.min ?? 0),
      normMax: segments.reduce((most, { norms }) => Math.max(most, norms.max), 0),
      normMean: sum(segment => (segment.rows - segment.garbage) * segment.norms.mean) / Math.max(1, rows),
    }
  }

  /**
   * The rows put so far as files: the picture is taken before the promise is returned, all of it durable once that
   * resolves. One call at a time. The caller keeps the files while a manifest names them.
   * @throws FreshetError `storage-failed` | `storage-full`
   */
  segmentsForCheckpoint(): Promise<readonly SavedSegment[]> {
    const picture = this.#rows.segments
      .filter(segment => segment.rows > 0)
      .map(segment => ({ segment, rows: segment.rows }))
    return Promise.all(picture.map(({ segment, rows }) => this.#segmentFiles.save(segment, rows)))
  }

  /**
   * Names of files that the running index reads, writes or is about to read: not to be removed, whatever manifests
   * say. True only until other work of this thread goes on: ask after listing the directory.
   */
  segmentsInUse(): ReadonlySet<string> {
    const segments = new Set([...this.#rows.segments, ...this.#opening.flat()])
    const saved = [...segments].flatMap(segment => (segment.saved === null ? [] : filesOf(segment.saved)))
    return new Set([...saved, ...this.#segmentFiles.writing, ...this.#compactor.building])
  }

  /** Merges everything into one segment without garbage; `false`: what is worth it. Resolves when done. */
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
    if (this.#calmLook !== null) clearInterval(this.#calmLook)
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
    this.#lookForCalm()
  }

  #lookForCalm(): void {
    const { calmMs } = this.#tuning
    if (calmMs === Number.POSITIVE_INFINITY) return
    let before = this.#changes
    this.#calmLook = setInterval(() => {
      if (this.#changes - before <= (calmChangesPerSecond * calmMs) / 1_000) this.#compactor.calm()
      before = this.#changes
    }, calmMs).unref()
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

  /** Tells the search threads the segments; files of former ones may go once all threads have opened these. */
  async #layOut(): Promise<void> {
    const { segments } = this.#rows
    this.#opening.push(segments)
    const last = segments.length - 1
    const views = segments.map((segment, i) =>
      segment.view(this.#files, i === last ? segment.memory.shape.capacity : segment.rows),
    )
    await this.#pool.setLayout(views)
    const former = this.#opening.slice(0, this.#opening.indexOf(segments))
    this.#opening = this.#opening.slice(former.length)
    const kept = new Set(this.#opening.flat())
    this.#letGo(new Set(former.flat().filter(segment => !kept.has(segment))))
  }

  /** Row memory is given back by the garbage collector alone, which does not come for it by itself. */
  #letGo(segments: ReadonlySet<IndexSegment>): void {
    for (const segment of segments) this.#droppedBytes += segment.memoryBytes
    if (this.#droppedBytes < Math.max(collectedFromBytes, collectedRatio * this.statistics().memoryBytes)) return
    this.#droppedBytes = 0
    setImmediate(collectGarbage)
  }
}

function filesOf({ rows, graph }: SavedSegment): readonly string[] {
  return graph === null ? [rows.file] : [rows.file, graph.file]
}
