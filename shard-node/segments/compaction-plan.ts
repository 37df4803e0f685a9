/** A segment that is not written any more, as planning sees it. */
export interface SegmentSize {
  readonly id: number
  readonly order: 'log' | 'item'
  readonly rows: number
  /** Rows that no search will see again. */
  readonly garbage: number
  readonly hasGraph: boolean
}

export interface CompactionSettings {
  /** Log segments that are worth a merge. */
  readonly logSegments: number
  /** A segment is kept at least so many times as large as all smaller ones together. */
  readonly sizeRatio: number
  /** A segment with a larger share of garbage is rewritten, unless that is fewer rows than `garbageRows`. */
  readonly garbageRatio: number
  readonly garbageRows: number
  /** Item segments of so many rows have a graph (infinity: none has); at most `graphs` of them. */
  readonly graphRows: number
  readonly graphs: number
  /** With so many rows in log segments these are merged before anything else: every search compares their codes. */
  readonly urgentRows: number
  /** A segment has at most so many rows: as many as fit into the memory of one. */
  readonly segmentRows: number
  /**
   * `calm`: hardly anything changes, so that more pays: also what is due at `calmRatio`. `whole`: until there is one
   * segment without garbage.
   */
  readonly mode: 'usual' | 'calm' | 'whole'
  /** See `firstOfCalm`. */
  readonly calmRatio: number
}

/**
 * By simulation (compaction-plan.test.ts). A ratio of 3 leaves one large segment and one or two small ones; while a million
 * rows are put, 3.4 to 4 are built for each, where 1.5 would build 2.5 to 3.7 and leave up to three graphs. Garbage over
 * 12% keeps disk use within 2.2 times that of the live rows while the whole set is replaced at up to a sixth of the
 * builder's speed (at a quarter it is 2.3): at its worst, garbage, what is put during a merge of everything, and its
 * result lie beside the live rows. So many rows of 1,024 dimensions fit into 4 GiB. At a calm ratio of 0.05 up to 20 rows
 * are built for each that changes: at 32 changes a second, below which it is calm, less than a tenth of the builder's
 * speed.
 */
export const standardCompaction: CompactionSettings = {
  logSegments: 3,
  sizeRatio: 3,
  garbageRatio: 0.12,
  garbageRows: 1_024,
  graphRows: 32_768,
  graphs: 6,
  urgentRows: 81_920,
  segmentRows: 1_800_000,
  mode: 'usual',
  calmRatio: 0.05,
}

export type CompactionStep =
  /** They hold nothing but garbage. */
  | { readonly kind: 'drop'; readonly ids: readonly number[] }
  /** Rows that are no garbage become one item segment in their place. */
  | {
      readonly kind: 'merge'
      readonly ids: readonly number[]
      readonly graph: boolean
      /** Searches suffer until it is done. */
      readonly isUrgent: boolean
    }

/**
 * What to do next, or null. `segments` are all but the one that is being written.
 *
 * A merge takes a segment and every smaller one, so that sizes fall geometrically: there are few graphs, a row is
 * rewritten a number of times that grows with the logarithm of the whole, and no segment waits for ever. It begins with
 * the largest segment that calls for one:
 * | segment                                          | why |
 * | with garbage over `garbageRatio`              | space, and candidates that are thrown away |
 * | large enough for a graph, without one         | its graph was lost |
 * | the largest of `logSegments` log segments or more   | rows without a graph are scanned |
 * and once there is one, reaches up to the largest that is smaller than `sizeRatio` times all below it together, and
 * further when there would be more than `graphs`, as far as the result fits into one segment. When log segments hold
 * `urgentRows`, they alone call for a merge, and it reaches up for the sake of `graphs` only.
 */
export function planCompaction(segments: readonly SegmentSize[], settings: CompactionSettings): CompactionStep | null {
  const empty = segments.filter(segment => liveRows(segment) === 0)
  if (empty.length > 0) return { kind: 'drop', ids: empty.map(segment => segment.id) }
  const falling = [...segments].sort((a, b) => liveRows(b) - liveRows(a) || a.id - b.id)
  const first = firstBy[settings.mode](falling, settings)
  if (first === -1) return null
  const merged = fitting(falling.slice(first), settings.segmentRows)
  return {
    kind: 'merge',
    ids: merged.map(segment => segment.id).sort((a, b) => a - b),
    graph: sumOf(merged) >= settings.graphRows,
    isUrgent: isUrgent(segments, settings),
  }
}

/** Index of the largest segment to merge, or -1. */
const firstBy: Readonly<
  Record<CompactionSettings['mode'], (falling: readonly SegmentSize[], settings: CompactionSettings) => number>
> = { usual: firstOfMerge, calm: firstOfCalm, whole: firstOfAll }

/**
 * The largest that, merged with all smaller ones, gives a segment whose searches are spared so large a share of it:
 * garbage, and rows that are scanned, or in other graphs, now and come into its own.
 */
function firstOfCalm(falling: readonly SegmentSize[], settings: CompactionSettings): number {
  return falling.findIndex((segment, i) => {
    const merged = falling.slice(i)
    const rows = sumOf(merged)
    if (rows > settings.segmentRows) return false
    const garbage = merged.reduce((sum, each) => sum + each.garbage, 0)
    const spared = garbage + (rows >= settings.graphRows ? rows - liveRows(segment) : 0)
    return spared >= Math.max(settings.garbageRows, settings.calmRatio * rows)
  })
}

function firstOfAll(falling: readonly SegmentSize[]): number {
  const isDone = falling.length === 1 && falling[0]!.order === 'item' && falling[0]!.garbage === 0
  return falling.length === 0 || isDone ? -1 : 0
}

/** Whether there are so many rows to scan that merging them comes first. */
export function isUrgent(segments: readonly SegmentSize[], settings: CompactionSettings): boolean {
  const unmerged = segments.reduce((rows, segment) => rows + (segment.order === 'log' ? segment.rows : 0), 0)
  return unmerged >= settings.urgentRows && settings.graphRows < Number.POSITIVE_INFINITY
}

function firstOfMerge(falling: readonly SegmentSize[], settings: CompactionSettings): number {
  const isLogMergeDue = falling.filter(segment => segment.order === 'log').length >= settings.logSegments
  const onlyLogs = isUrgent(falling, settings)
  const calling = falling.findIndex(
    segment =>
      (isLogMergeDue && segment.order === 'log') ||
      (!onlyLogs && (isWasteful(segment, settings) || isGraphLost(segment, settings))),
  )
  if (calling <= 0) return calling
  const mayReach = (first: number): boolean => first >= 0 && sumOf(falling.slice(first)) <= settings.segmentRows
  const isCrowded = (segment: SegmentSize, i: number): boolean =>
    liveRows(segment) < settings.sizeRatio * sumOf(falling.slice(i + 1))
  const crowded = onlyLogs ? -1 : falling.findIndex((segment, i) => isCrowded(segment, i) && mayReach(i))
  let first = crowded === -1 ? calling : Math.min(calling, crowded)
  while (graphsAfter(falling, first, settings) > settings.graphs && mayReach(first - 1)) first--
  return first
}

function isWasteful({ rows, garbage }: SegmentSize, { garbageRatio, garbageRows }: CompactionSettings): boolean {
  return garbage >= garbageRows && garbage > garbageRatio * rows
}

function isGraphLost(segment: SegmentSize, { graphRows }: CompactionSettings): boolean {
  return segment.order === 'item' && !segment.hasGraph && liveRows(segment) >= graphRows
}

function graphsAfter(falling: readonly SegmentSize[], first: number, { graphRows }: CompactionSettings): number {
  const kept = falling.slice(0, first).filter(segment => segment.hasGraph).length
  return kept + (sumOf(falling.slice(first)) >= graphRows ? 1 : 0)
}

/** The first of the segments, and as many of the others, from the smallest up, as fit into one. */
function fitting(falling: readonly SegmentSize[], segmentRows: number): SegmentSize[] {
  const [first, ...others] = falling
  const fitted = [first!]
  let rows = liveRows(first!)
  for (const segment of others.reverse()) {
    rows += liveRows(segment)
    if (rows > segmentRows) break
    fitted.push(segment)
  }
  return fitted
}

function liveRows({ rows, garbage }: SegmentSize): number {
  return rows - garbage
}

function sumOf(segments: readonly SegmentSize[]): number {
  return segments.reduce((sum, segment) => sum + liveRows(segment), 0)
}
