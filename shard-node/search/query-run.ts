import type { ScannedRows } from '../kernel/row-kernel.ts'
import { scratchRows } from '../kernel/row-memory.ts'
import type { IndexAnswer, SegmentPlan } from '../vector-index.ts'
import { AllowedItems } from './allowed-items.ts'
import { BestObjects } from './best-objects.ts'
import {
  afterProbe,
  afterShortWalk,
  mostApproximate,
  type PlannedQuery,
  type PlannedSegment,
  planSegment,
  reliableShare,
  rowsToScore,
  wantedOf,
} from './query-plan.ts'
import type { WireQuery } from './search-messages.ts'
import { isSeen, type SearchedSegment, type SegmentSearch } from './segment-search.ts'

/** What has been done on a segment for the query at hand. */
interface SegmentRun {
  readonly segment: SegmentSearch
  readonly planned: PlannedSegment
  by: SegmentPlan['by']
  scored: number
  /** Candidates asked of its graph last. */
  walked: number
  /** Score at the end of the reliable share of the last walk: results of less may have been missed. */
  reliableScore: number
  /** Rows of the allowed items, when these were looked up. */
  listed: Uint32Array | null
  /** All its rows that are seen and allowed have been scored. */
  isExhausted: boolean
}

/** Rows that a scan found, nearest by code among those of their segment; in the kernel's scratch memory. */
interface Found extends ScannedRows {
  readonly run: SegmentRun
  /** There may be more. */
  readonly isCut: boolean
}

/** Answers queries from candidates. One per thread, for one query at a time. */
export class QueryRun {
  readonly #best: BestObjects
  readonly #allowed = new AllowedItems()
  /** Found rows by distance. */
  readonly #histogram: Uint32Array
  readonly #rows = new Uint32Array(scratchRows)
  #query!: WireQuery
  #planned!: PlannedQuery
  #sequence = 0
  #allRows = 0

  constructor({ dims, ties }: { readonly dims: number; readonly ties: Uint32Array }) {
    this.#best = new BestObjects(ties)
    this.#histogram = new Uint32Array(dims + 1)
  }

  /** Null when candidates do not tell: search exactly. @throws FreshetError `storage-failed` */
  answer(segments: readonly SearchedSegment[], sequence: number, query: WireQuery): IndexAnswer | null {
    const { k, effort, allowed, exclude } = query
    if (k > mostApproximate) return null
    this.#query = query
    this.#sequence = sequence
    this.#planned = { k, effort, selectivity: allowed && selectivityOf(allowed) }
    this.#best.begin(k)
    if (allowed !== null) this.#allowed.copy(allowed.bits, exclude)
    this.#allRows = segments.reduce((sum, { rows }) => sum + rows, 0)
    const runs = segments.map(segment => this.#begin(segment))
    const toScan = runs.filter(run => !this.#walkFirst(run))
    this.#scan(toScan, allowed !== null)
    this.#mendShortWalks(runs)
    this.#scanForMore(runs)
    return this.#best.isFull || runs.every(run => run.isExhausted) ? this.#answerOf(runs) : null
  }

  #begin({ segment, rows }: SearchedSegment): SegmentRun {
    segment.prepare(this.#query.vector)
    const hasGraph = segment.graph !== null
    const unseenShare = hasGraph ? segment.unseenShare(this.#sequence) : 0
    return {
      segment,
      planned: { rows, hasGraph, unseenShare },
      by: 'codes',
      scored: 0,
      walked: 0,
      reliableScore: Number.NEGATIVE_INFINITY,
      listed: null,
      isExhausted: false,
    }
  }

  /** False when the segment is to be scanned. */
  #walkFirst(run: SegmentRun): boolean {
    const step = planSegment(run.planned, this.#planned)
    switch (step.by) {
      case 'graph':
        this.#walk(run, step.count)
        return true
      case 'probe': {
        const count = afterProbe(run.planned, this.#planned, this.#walk(run, step.count))
        if (count !== null) this.#walk(run, count)
        return count !== null
      }
      case 'list':
        run.listed = run.segment.rowsOf(this.#allowed, run.planned.rows)
        return false
      case 'codes':
        return false
    }
  }

  /** Scores candidates of the graph. Returns which share of them may come out. */
  #walk(run: SegmentRun, count: number): number {
    const { segment } = run
    const candidates = segment.graph!.search(this.#query.vector, count)
    const passing = this.#keepPassing(segment, candidates)
    // The row at the end of the reliable share is scored behind them, whether it may come out or not.
    this.#rows[passing] = candidates[Math.floor(count * reliableShare)] ?? 0
    const scores = segment.score(this.#rows.subarray(0, passing + 1))
    this.#offer(run, passing, scores)
    const isShort = candidates.length < count
    run.by = 'graph'
    run.walked = isShort ? Number.POSITIVE_INFINITY : count
    run.reliableScore = isShort ? Number.POSITIVE_INFINITY : scores[passing]!
    return passing / count
  }

  /** Until the results lie above what each walk is reliable for: further walks, or scans where these take less. */
  #mendShortWalks(runs: readonly SegmentRun[]): void {
    for (;;) {
      const kthScore = this.#best.kthScore()
      const short = runs.filter(({ by, reliableScore }) => by === 'graph' && reliableScore > kthScore)
      if (short.length === 0) return
      const toScan = short.filter(run => {
        const count = this.#query.allowed === null ? afterShortWalk(run.planned, run.walked) : null
        if (count !== null) this.#walk(run, count)
        return count === null
      })
      this.#scan(toScan, true)
    }
  }

  /** Fewer than k items so far: as many rows as the kernel gives, of each segment that has more. */
  #scanForMore(runs: readonly SegmentRun[]): void {
    if (this.#best.isFull) return
    for (const run of runs) if (!run.isExhausted) this.#scoreNearest([this.#find(run, scratchRows)], scratchRows)
  }

  /** Scores the rows nearest by code, of all these segments together. */
  #scan(runs: readonly SegmentRun[], isFar: boolean): void {
    if (runs.length === 0) return
    const rows = runs.reduce((sum, run) => sum + rowsOf(run), 0)
    const toScore = rowsToScore({ rows, share: rows / Math.max(1, this.#allRows), isFar }, this.#query.k)
    const listed = runs.reduce((sum, run) => sum + (run.listed?.length ?? 0), 0)
    const found: Found[] = []
    for (const run of runs) {
      if (run.listed !== null && listed <= toScore) this.#scoreListed(run, run.listed)
      else found.push(this.#find(run, wantedOf(rowsOf(run), rows, toScore)))
    }
    this.#scoreNearest(found, toScore)
  }

  #scoreListed(run: SegmentRun, listed: Uint32Array): void {
    const passing = this.#keepPassing(run.segment, listed)
    this.#offer(run, passing, run.segment.score(this.#rows.subarray(0, passing)))
    run.by = 'vectors'
    run.isExhausted = true
  }

  #find(run: SegmentRun, want: number): Found {
    run.by = 'codes'
    const { kernel } = run.segment
    const sequence = this.#sequence
    const filtered = this.#query.allowed !== null
    if (filtered && run.listed === null) kernel.allow(this.#allowed.bits)
    const scope = { from: 0, to: run.planned.rows, sequence, filtered }
    const { rows, distances } =
      run.listed === null ? kernel.scan(scope, want) : kernel.scanRows(run.listed, { sequence, want })
    return { run, rows, distances, isCut: rows.length >= want }
  }

  #scoreNearest(found: readonly Found[], toScore: number): void {
    const total = found.reduce((sum, { rows }) => sum + rows.length, 0)
    const cut = total <= toScore ? { below: this.#histogram.length, ties: 0 } : this.#cut(found, toScore)
    for (const { run, rows, distances, isCut } of found) {
      let kept = 0
      for (let i = 0; i < rows.length; i++) {
        const distance = distances[i]!
        if (distance < cut.below || (distance === cut.below && cut.ties-- > 0)) this.#rows[kept++] = rows[i]!
      }
      run.isExhausted = !isCut && kept === rows.length
      this.#offer(run, kept, run.segment.score(this.#rows.subarray(0, kept)))
    }
  }

  /** Up to which distance rows are among the nearest `toScore`, and how many of those at that distance. */
  #cut(found: readonly Found[], toScore: number): { below: number; ties: number } {
    const histogram = this.#histogram.fill(0)
    for (const { distances } of found) for (let i = 0; i < distances.length; i++) histogram[distances[i]!]!++
    let below = 0
    let nearer = 0
    while (nearer + histogram[below]! < toScore) nearer += histogram[below++]!
    return { below, ties: toScore - nearer }
  }

  /** Leaves those of the rows in `#rows` that the query sees and allows; returns how many. */
  #keepPassing(segment: SegmentSearch, rows: Uint32Array): number {
    const { words, items } = segment.kernel.columns
    const { allowed } = this.#query
    let passing = 0
    for (let i = 0; i < rows.length; i++) {
      const row = rows[i]!
      if (!isSeen(words[row]!, this.#sequence)) continue
      if (allowed === null || this.#allowed.has(items[row]!)) this.#rows[passing++] = row
    }
    return passing
  }

  /** Of the first `count` of `#rows`. */
  #offer(run: SegmentRun, count: number, scores: Float32Array): void {
    const { items, objects } = run.segment.kernel.columns
    const { exclude } = this.#query
    for (let i = 0; i < count; i++) {
      const row = this.#rows[i]!
      const item = items[row]!
      if (item !== exclude) this.#best.offer(item, objects[row]!, scores[i]!)
    }
    run.scored += scores.length
  }

  #answerOf(runs: readonly SegmentRun[]): IndexAnswer {
    const hasWalked = runs.some(({ by }) => by === 'graph')
    return {
      hits: this.#best.top(),
      complete: this.#best.isAll && runs.every(run => run.isExhausted),
      plan: {
        kind: hasWalked ? 'graph' : 'scan',
        selectivity: this.#planned.selectivity ?? 1,
        effort: hasWalked ? this.#query.effort : 0,
        segments: runs.map(({ planned, by, scored }) => ({ rows: planned.rows, by, scored })),
      },
    }
  }
}

export function selectivityOf({ count, items }: NonNullable<WireQuery['allowed']>): number {
  return items === 0 ? 0 : Math.min(1, Math.max(0, count / items))
}

/** To be looked at by a scan. */
function rowsOf({ listed, planned }: SegmentRun): number {
  return listed?.length ?? planned.rows
}
