import { scratchRows } from '../kernel/row-memory.ts'

/** What planning knows of a segment. */
export interface PlannedSegment {
  readonly rows: number
  readonly hasGraph: boolean
  /** Share of its rows that the search does not see, roughly. */
  readonly unseenShare: number
}

export interface PlannedQuery {
  readonly k: number
  /** Graph candidates asked of a segment of 200,000 rows. */
  readonly effort: number
  /** Share of the items that the filter allows, roughly; null: no filter. */
  readonly selectivity: number | null
}

/**
 * How a segment is searched first.
 * `graph`: walked for so many candidates. `probe`: walked for a few, to learn how many of them the filter allows
 * (then `afterProbe` decides). `codes`: the code of every seen and allowed row compared. `list`: rows of the allowed
 * items looked up, then the codes of these alone.
 */
export type SegmentStep =
  | { readonly by: 'graph' | 'probe'; readonly count: number }
  | { readonly by: 'codes' }
  | { readonly by: 'list' }

/*
 * All constants below: 200,000 clustered unit vectors of 256 dimensions (2,000 clusters in 32 dimensions), i8 graphs
 * of 12 neighbours and 64 candidates per insertion, 200 to 1,000 queries, a core shared with other work. Recall is that of
 * the ten nearest where nothing else is said.
 */

/** Rows of the segment that `effort` is meant for, and results. */
const effortRows = 200_000
const effortResults = 10
/**
 * Candidates needed for the same recall grow with the rows to this power, as fast as they do beyond `effortRows`, where
 * the nearest of these vectors lie closer together than i8 tells apart: .990 takes 36 of 32,768 rows, 44 of 200,000 (40:
 * .989); of 425,984 and 524,288 rows 66 and 73 give .978, 118 and 131 .987, 220 and 244 .996. What is wanting the recall
 * controller adds.
 */
const effortGrowth = { below: 0.15, above: 1 } as const
/** More results need so many more candidates each: 50 of 100 .991, 100 of 200 .984, of 256 .989. */
const candidatesPerResult = 2
/**
 * The farther candidates are the less complete: the nearest quarter is .995, the half .985, all .94. A walk counts when
 * the k-th result of the answer lies in this nearer share of its candidates.
 */
export const reliableShare = 0.5
/** The least that a walk looks at (see `GraphView`): 66 µs, where 40 take 119. */
const probeCandidates = 16
/** When fewer of the probed rows pass than this share of what the filter allows, it is correlated with the query. */
const correlatedShare = 0.5
/**
 * A walk for more candidates than this share of the rows takes as long as a scan: 35 µs and 2 µs a candidate against
 * 2.5 ns a row.
 */
const walkedShare = 0.001
/** Of one walk, in any case. */
const mostCandidates = 4_096
/**
 * Up to this selectivity, looking up the rows of allowed items and comparing their codes alone is faster than a scan:
 * 10 % of 200,000 rows 330 µs against 500, 20 % as long.
 */
const listSelectivity = 0.15

/**
 * Rows scored of a scan, chosen between measured points. Of 16,384 rows 120 .993, 200 .997; for 100 results 700 .987,
 * 1,000 .995. Of 200,000 rows 350 .995, 500 .997.
 */
const scannedRows = 16_384
const scored = { base: 100, perResult: 8 } as const
const scoredGrowth = 0.35
/** Far from the query codes tell less: one in two items allowed, as whole clusters, 500 rows .988, 700 .992. */
const scoredFar = { base: 400, perResult: 10 } as const
/** Few of the results lie in a small segment, as a rule: even if all of them do, half the rows are .985. */
const leastShareScored = 0.5

/** More results are searched for exactly: a scan finds so few of the nearest that the share of them would fall. */
export const mostApproximate = 1_000

/** How to begin with a segment. */
export function planSegment(segment: PlannedSegment, query: PlannedQuery): SegmentStep {
  const { selectivity } = query
  const count = graphCandidates(segment, query)
  if (selectivity === null)
    return segment.hasGraph && count < segment.rows / 4 ? { by: 'graph', count } : { by: 'codes' }
  if (selectivity <= listSelectivity) return { by: 'list' }
  const hoped = probeCandidates + count / selectivity
  if (segment.hasGraph && isWorthWalking(hoped, segment)) return { by: 'probe', count: probeCandidates }
  return { by: 'codes' }
}

/** Candidates to ask of a segment's graph when all its rows that are seen may come out. */
export function graphCandidates(segment: PlannedSegment, { k, effort }: PlannedQuery): number {
  const growth = segment.rows < effortRows ? effortGrowth.below : effortGrowth.above
  const needed = effort * (segment.rows / effortRows) ** growth + candidatesPerResult * Math.max(0, k - effortResults)
  const seen = Math.max(needed, k / reliableShare + 1)
  return Math.ceil(Math.min(mostCandidates, seen / (1 - segment.unseenShare)))
}

/** Of the probed rows this share passed. Null: scan. */
export function afterProbe(segment: PlannedSegment, query: PlannedQuery, passedShare: number): number | null {
  const expected = (query.selectivity ?? 1) * (1 - segment.unseenShare)
  if (passedShare === 0 || passedShare < expected * correlatedShare) return null
  const count = Math.ceil(graphCandidates({ ...segment, unseenShare: 0 }, query) / passedShare)
  return isWorthWalking(count, segment) ? count : null
}

/** A walk for so many did not reach far enough. Null: scan. */
export function afterShortWalk(segment: PlannedSegment, count: number): number | null {
  return isWorthWalking(count * 2, segment) ? count * 2 : null
}

export interface ScanOf {
  /** Of all segments that are scanned. */
  readonly rows: number
  /** Of all rows that are searched. */
  readonly share: number
  /** Results may be far from the query: with a filter, and where a walk around the query found too little. */
  readonly isFar: boolean
}

/**
 * An index of so few rows is scored row by row, which takes about 0.1 ms: of 1,640 rows with real embeddings, scoring
 * the 180 nearest by code lost one other view in a hundred from the first five.
 */
const scoredWhole = 2_048

/** How many rows to score of those that the scan finds nearest by code. */
export function rowsToScore({ rows, share, isFar }: ScanOf, k: number): number {
  if (share === 1 && rows <= scoredWhole) return rows
  const alone = (scored.base + scored.perResult * k) * Math.max(0.5, rows / scannedRows) ** scoredGrowth
  const near = alone * Math.max(leastShareScored, share)
  const far = isFar ? scoredFar.base + scoredFar.perResult * k : 0
  return Math.min(scratchRows, Math.ceil(Math.max(near, far)))
}

/** How many of them one of the segments may have: twice its share, because neighbours lie together. */
export function wantedOf(segmentRows: number, rows: number, toScore: number): number {
  return Math.min(toScore, Math.ceil((2 * toScore * segmentRows) / Math.max(1, rows)) + 32)
}

function isWorthWalking(count: number, { rows }: PlannedSegment): boolean {
  return count <= Math.min(mostCandidates, rows * walkedShare)
}
