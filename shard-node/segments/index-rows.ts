import type { Snapshot } from '../search/search-messages.ts'
import type { IndexSegment } from './index-segment.ts'
import { LogSegment, rowsIn } from './log-segment.ts'
import { Merge } from './merge.ts'
import type { RestoredRows } from './restore-rows.ts'
import { bornAt, diedAt, hiddenAt, isGarbage, settledWords, standingOf } from './row-word.ts'

export interface IndexRowsOptions {
  readonly dims: number
  /** Threads that search. */
  readonly threads: number
  /** Rows after which a log segment is frozen. */
  readonly logRows: number
  readonly newSegmentId: () => number
  /** The list of segments has changed: the next search needs the new one. */
  readonly onLayout: () => void
}

/** The rows of an item's current set. */
export interface LocatedSet {
  readonly segment: IndexSegment
  readonly row: number
  readonly count: number
}

/** How far item numbers may grow while a log segment is written, in rows of it. */
const itemHeadroom = 4

/**
 * All rows of an index, in segments, and whose current sets they are: what the owner thread knows, without threads or
 * files. Each change has a sequence; a search with the snapshot of before it does not see it.
 */
export class IndexRows {
  readonly #options: IndexRowsOptions
  /** Item numbers lie below. */
  #itemLimit: number
  #frozen: readonly IndexSegment[]
  #log: LogSegment
  #sequence = 1
  #visibleRows: number
  #visibleItems: number
  #merge: Merge | null = null
  /** The mean of the vectors is known; codes of the first rows are centred on nothing. */
  #isCentred: boolean

  constructor(options: IndexRowsOptions, restored: RestoredRows) {
    this.#options = options
    this.#itemLimit = restored.itemLimit
    this.#frozen = restored.segments
    this.#visibleRows = restored.visibleRows
    this.#visibleItems = restored.visibleItems
    const mean = largest(restored.segments)?.mean ?? new Float32Array(options.dims)
    this.#isCentred = mean.some(component => component !== 0)
    this.#log = this.#newLog(restored.nextOrdinal, mean)
  }

  /** All segments; the last one is being written. */
  get segments(): readonly IndexSegment[] {
    return [...this.#frozen, this.#log.segment]
  }

  /** Segments that no row is added to any more. */
  get frozen(): readonly IndexSegment[] {
    return this.#frozen
  }

  get snapshot(): Snapshot {
    return { sequence: this.#sequence, logRows: this.#log.segment.rows }
  }

  get visibleRows(): number {
    return this.#visibleRows
  }

  get visibleItems(): number {
    return this.#visibleItems
  }

  /** See `VectorIndex`. */
  put(item: number, { vectors, visible }: { readonly vectors: Uint8Array; readonly visible: boolean }): number {
    const { dims, logRows } = this.#options
    const count = rowsIn(vectors, dims, logRows)
    if (!this.#log.hasRoom(item, count)) this.#rotate(item)
    this.#drop(item)
    const ordinal = this.#log.append(item, vectors, settledWords[visible ? 'visible' : 'hidden'])
    this.#itemLimit = Math.max(this.#itemLimit, item + 1)
    if (visible) this.#countVisible(count, 1)
    this.#changed(item)
    if (!this.#isCentred) this.#centre()
    return ordinal
  }

  setVisible(item: number, visible: boolean): void {
    const set = this.locate(item)
    if (set === null || this.isVisible(set) === visible) return
    const sequence = this.#sequence + 1
    set.segment.columns.words.fill(visible ? bornAt(sequence) : hiddenAt(sequence), set.row, set.row + set.count)
    this.#countVisible(set.count, visible ? 1 : -1)
    this.#changed(item)
  }

  remove(item: number): void {
    if (this.#drop(item)) this.#changed(item)
  }

  /** Null: the item has no set. */
  locate(item: number): LocatedSet | null {
    if (item >= this.#itemLimit) return null
    return located(this.#log.segment, item) ?? firstLocated(this.#frozen, item)
  }

  isVisible({ segment, row }: LocatedSet): boolean {
    return standingOf(segment.columns.words[row]!) === 'visible'
  }

  /** Begins to take notice of what changes in the inputs, all of them frozen; one merge at a time. */
  beginMerge(inputs: readonly IndexSegment[]): Merge {
    this.#merge = new Merge(inputs)
    return this.#merge
  }

  /** Nothing happens when it has ended. */
  abandonMerge(merge: Merge): void {
    if (this.#merge === merge) this.#merge = null
  }

  /** Brings the new segment's visibility of these items to that of now. */
  refresh(merge: Merge, segment: IndexSegment, items: Iterable<number>): void {
    for (const item of items) this.#refreshItem(merge, segment, item)
  }

  /** Puts the new segment, or nothing, in the place of the inputs. */
  endMerge(merge: Merge, segment: IndexSegment | null): void {
    if (segment !== null) this.refresh(merge, segment, merge.takeTouched())
    const others = this.#frozen.filter(each => !merge.inputs.includes(each))
    this.#frozen = segment === null ? others : [segment, ...others]
    this.#merge = null
    this.#options.onLayout()
  }

  /** Freezes the segment that is being written, if it has rows. */
  rotate(): void {
    if (this.#log.segment.rows > 0) this.#rotate(0)
  }

  /** Starts sequences anew. No search may be under way: what it sees would change. */
  rebase(): void {
    for (const { columns, rows } of this.segments) {
      const { words } = columns
      for (let row = 0; row < rows; row++) if (words[row] !== 0) words[row] = settledWords[standingOf(words[row]!)]
    }
    this.#sequence = 1
  }

  #rotate(item: number): void {
    const { segment } = this.#log
    if (segment.rows > 0) this.#frozen = [...this.#frozen, segment]
    this.#log = this.#newLog(this.#log.nextOrdinal, this.#log.sampleMean() ?? segment.mean, item)
    this.#options.onLayout()
  }

  /** As soon as there are rows enough, not with the next segment: a small index never has one. */
  #centre(): void {
    const mean = this.#log.sampleMean()
    if (mean === null) return
    this.#log = this.#log.copyCentred(this.#options.newSegmentId(), mean)
    this.#isCentred = true
    this.#options.onLayout()
  }

  #newLog(firstOrdinal: number, mean: Float32Array, item = 0): LogSegment {
    const { dims, threads, logRows, newSegmentId } = this.#options
    const items = Math.max(this.#itemLimit, item + 1) + itemHeadroom * logRows
    return new LogSegment({ id: newSegmentId(), dims, firstOrdinal, capacity: logRows, items, mean, threads })
  }

  #drop(item: number): boolean {
    const set = this.locate(item)
    if (set === null) return false
    if (this.isVisible(set)) this.#countVisible(set.count, -1)
    const { words } = set.segment.columns
    words.fill(diedAt(words[set.row]!, this.#sequence + 1), set.row, set.row + set.count)
    set.segment.garbage += set.count
    return true
  }

  /** Searches from now on see the change. */
  #changed(item: number): void {
    this.#sequence++
    this.#merge?.touch(item)
  }

  #countVisible(rows: number, sign: 1 | -1): void {
    this.#visibleRows += sign * rows
    this.#visibleItems += sign
  }

  /** What stands of the item in the new segment is garbage unless its current set is one of those that went in. */
  #refreshItem(merge: Merge, segment: IndexSegment, item: number): void {
    const row = segment.firstRowOf(item)
    if (row < 0) return
    const { words, items } = segment.columns
    const set = this.locate(item)
    const standing =
      set !== null && merge.inputs.includes(set.segment) ? standingOf(set.segment.columns.words[set.row]!) : 'garbage'
    let end = row + 1
    while (end < segment.rows && items[end] === item) end++
    if (isGarbage(words[row]!)) segment.garbage -= end - row
    if (standing === 'garbage') segment.garbage += end - row
    words.fill(settledWords[standing], row, end)
  }
}

function located(segment: IndexSegment, item: number): LocatedSet | null {
  const row = segment.rowOfCurrentSet(item)
  return row < 0 ? null : { segment, row, count: segment.rowsOfSet(row) }
}

function firstLocated(segments: readonly IndexSegment[], item: number): LocatedSet | null {
  for (const segment of segments) {
    const set = located(segment, item)
    if (set !== null) return set
  }
  return null
}

function largest(segments: readonly IndexSegment[]): IndexSegment | undefined {
  return segments.reduce<IndexSegment | undefined>(
    (most, segment) => (most && most.rows >= segment.rows ? most : segment),
    undefined,
  )
}
