import { asFreshetError, FreshetError } from '../../schemas/errors.ts'
import type { ShardFiles } from '../files/shard-files.ts'
import { graphLibrary } from './graph-file.ts'
import { IndexSegment } from './index-segment.ts'
import type { SavedRowsRead } from './restore-rows.ts'
import { readRows, rowsFileName, writeRows } from './rows-file.ts'
import type { SavedGraph, SavedSegment } from './segment.ts'

export interface SegmentFilesOptions {
  readonly files: ShardFiles
  /** Threads that search. */
  readonly threads: number
  readonly kind: 'standard' | 'compressed'
  readonly newSegmentId: () => number
  readonly onAlarm: (error: FreshetError) => void
}

/** Reads segments from their files, and writes log segments to such. */
export class SegmentFiles {
  readonly #options: SegmentFilesOptions
  readonly #writing = new Set<string>()
  #lastWrite: Promise<unknown> = Promise.resolve()

  constructor(options: SegmentFilesOptions) {
    this.#options = options
  }

  /** Names of the files that are being written. */
  get writing(): ReadonlySet<string> {
    return this.#writing
  }

  /**
   * The segment as it was saved, every row visible. A graph that is damaged or of another version of its library is left
   * out, with an alarm.
   * @throws FreshetError `checkpoint-corrupt` | `storage-failed`: the rows cannot be had
   */
  async read(saved: SavedSegment): Promise<SavedRowsRead> {
    const { files, threads, kind } = this.#options
    const { id, rows } = saved
    const vectors = kind === 'standard' || rows.order === 'log'
    // Side by side: one is read while the other is summed. The graph's part does not reject.
    const usable = kind === 'standard' ? this.#usable(saved) : null
    const { memory, columns, mean, ordinals } = await readRows(files, rows, { threads, vectors }).finally(() => usable)
    const graph = await usable
    const { order, firstOrdinal } = rows
    const segment = new IndexSegment({
      id,
      order,
      rows: rows.rows,
      firstOrdinal,
      memory,
      columns,
      mean,
      saved: { id, rows, graph },
    })
    segment.sampleNorms(files)
    return { segment, ordinals }
  }

  /**
   * The first `count` rows of a segment, as of now, durable once this resolves. One write at a time.
   * @throws FreshetError `storage-failed` | `storage-full`
   */
  save(segment: IndexSegment, count: number): Promise<SavedSegment> {
    const write = this.#lastWrite.then(() => this.#save(segment, count))
    this.#lastWrite = write.catch(() => undefined)
    return write
  }

  async #save(segment: IndexSegment, count: number): Promise<SavedSegment> {
    if (segment.saved?.rows.rows === count) return segment.saved
    const { files, newSegmentId } = this.#options
    const id = newSegmentId()
    const names = [rowsFileName(id), files.unfinishedName(rowsFileName(id))]
    for (const name of names) this.#writing.add(name)
    try {
      const { columns, mean, firstOrdinal: ordinals } = segment
      const items = columns.items.subarray(0, count).reduce((limit, item) => Math.max(limit, item + 1), 0)
      const rows = await writeRows(files, id, { order: 'log', rows: count, columns, mean, ordinals, items })
      const saved = { id, rows, graph: null }
      segment.saved = saved
      return saved
    } finally {
      for (const name of names) this.#writing.delete(name)
    }
  }

  async #usable({ rows, graph }: SavedSegment): Promise<SavedGraph | null> {
    if (graph === null) return null
    try {
      await this.#verify(graph, rows.rows)
      return graph
    } catch (thrown) {
      const { code, message } = asFreshetError(thrown)
      this.#options.onAlarm(new FreshetError(code, `a graph is built anew: ${message}`, { cause: thrown }))
      return null
    }
  }

  async #verify(graph: SavedGraph, rows: number): Promise<void> {
    const { file, size, library } = graph
    if (library !== graphLibrary)
      throw new FreshetError('checkpoint-corrupt', `${file} is of ${library}, not ${graphLibrary}`)
    if (size !== rows) throw new FreshetError('checkpoint-corrupt', `${file} has ${size} nodes for ${rows} rows`)
    await this.#options.files.verify(graph)
  }
}
