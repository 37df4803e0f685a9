/** A part that is not written any more, as planning sees it. */
export interface PartSize {
  readonly id: number
  readonly order: 'log' | 'item'
  readonly rows: number
  /** Rows that no search will see again. */
  readonly garbage: number
  readonly hasGraph: boolean
}

export interface CompactionSettings {
  /** Log parts that are worth a merge. */
  readonly logParts: number
  /** A part is kept at least so many times as large as all smaller ones together. */
  readonly sizeRatio: number
  /** A part with a larger share of garbage is rewritten, unless that is fewer rows than `garbageRows`. */
  readonly garbageRatio: number
  readonly garbageRows: number
  /** Item parts of so many rows have a graph (infinity: none has); at most `graphs` of them. */
  readonly graphRows: number
  readonly graphs: number
  /** A part has at most so many rows: as many as fit into the memory of one. */
  readonly partRows: number
  /** Until there is one part without garbage. */
  readonly force: boolean
}

/**
 * By simulation (compaction-plan.test.ts). A ratio of 3 leaves one large part and one or two small ones; while a million
 * rows are put, 3.4 to 4 are built for each, where 1.5 would build 2.5 to 3.7 and leave up to three graphs. Garbage over
 * 12% keeps disk use within 2.2 times that of the live rows while the whole set is replaced at up to a sixth of the
 * builder's speed (at a quarter it is 2.3): at its worst, garbage, what is put during a merge of everything, and its
 * result lie beside the live rows. So many rows of 1,024 dimensions fit into 4 GiB.
 */
export const standardCompaction: CompactionSettings = {
  logParts: 3,
  sizeRatio: 3,
  garbageRatio: 0.12,
  garbageRows: 1_024,
  graphRows: 32_768,
  graphs: 6,
  partRows: 1_800_000,
  force: false,
}

export type CompactionStep =
  /** They hold nothing but garbage. */
  | { readonly kind: 'drop'; readonly ids: readonly number[] }
  /** Rows that are no garbage become one item part in their place. */
  | { readonly kind: 'merge'; readonly ids: readonly number[]; readonly graph: boolean }

/**
 * What to do next, or null. `parts` are all but the one that is being written.
 *
 * A merge takes a part and every smaller one, so that sizes fall geometrically: there are few graphs, a row is
 * rewritten a number of times that grows with the logarithm of the whole, and no part waits for ever. It begins with
 * the largest part that calls for one:
 * | part                                          | why |
 * | with garbage over `garbageRatio`              | space, and candidates that are thrown away |
 * | large enough for a graph, without one         | its graph was lost |
 * | the largest of `logParts` log parts or more   | rows without a graph are scanned |
 * and once there is one, reaches up to the largest that is smaller than `sizeRatio` times all below it together, and
 * further when there would be more than `graphs`, as far as the result fits into one part.
 */
export function planCompaction(parts: readonly PartSize[], settings: CompactionSettings): CompactionStep | null {
  const empty = parts.filter(part => liveRows(part) === 0)
  if (empty.length > 0) return { kind: 'drop', ids: empty.map(part => part.id) }
  const falling = [...parts].sort((a, b) => liveRows(b) - liveRows(a) || a.id - b.id)
  const first = settings.force ? firstOfAll(falling) : firstOfMerge(falling, settings)
  if (first === -1) return null
  const merged = fitting(falling.slice(first), settings.partRows)
  return {
    kind: 'merge',
    ids: merged.map(part => part.id).sort((a, b) => a - b),
    graph: sumOf(merged) >= settings.graphRows,
  }
}

function firstOfAll(falling: readonly PartSize[]): number {
  const isDone = falling.length === 1 && falling[0]!.order === 'item' && falling[0]!.garbage === 0
  return falling.length === 0 || isDone ? -1 : 0
}

/** Index of the largest part to merge, or -1. */
function firstOfMerge(falling: readonly PartSize[], settings: CompactionSettings): number {
  const isLogMergeDue = falling.filter(part => part.order === 'log').length >= settings.logParts
  const calling = falling.findIndex(
    part => isWasteful(part, settings) || isGraphLost(part, settings) || (isLogMergeDue && part.order === 'log'),
  )
  if (calling <= 0) return calling
  const mayReach = (first: number): boolean => first >= 0 && sumOf(falling.slice(first)) <= settings.partRows
  const isCrowded = (part: PartSize, i: number): boolean =>
    liveRows(part) < settings.sizeRatio * sumOf(falling.slice(i + 1))
  const crowded = falling.findIndex((part, i) => isCrowded(part, i) && mayReach(i))
  let first = crowded === -1 ? calling : Math.min(calling, crowded)
  while (graphsAfter(falling, first, settings) > settings.graphs && mayReach(first - 1)) first--
  return first
}

function isWasteful({ rows, garbage }: PartSize, { garbageRatio, garbageRows }: CompactionSettings): boolean {
  return garbage >= garbageRows && garbage > garbageRatio * rows
}

function isGraphLost(part: PartSize, { graphRows }: CompactionSettings): boolean {
  return part.order === 'item' && !part.hasGraph && liveRows(part) >= graphRows
}

function graphsAfter(falling: readonly PartSize[], first: number, { graphRows }: CompactionSettings): number {
  const kept = falling.slice(0, first).filter(part => part.hasGraph).length
  return kept + (sumOf(falling.slice(first)) >= graphRows ? 1 : 0)
}

/** The first of the parts, and as many of the others, from the smallest up, as fit into one. */
function fitting(falling: readonly PartSize[], partRows: number): PartSize[] {
  const [first, ...others] = falling
  const fitted = [first!]
  let rows = liveRows(first!)
  for (const part of others.reverse()) {
    rows += liveRows(part)
    if (rows > partRows) break
    fitted.push(part)
  }
  return fitted
}

function liveRows({ rows, garbage }: PartSize): number {
  return rows - garbage
}

function sumOf(parts: readonly PartSize[]): number {
  return parts.reduce((sum, part) => sum + liveRows(part), 0)
}
