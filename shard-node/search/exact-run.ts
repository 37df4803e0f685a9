import { scratchRows } from '../kernel/row-memory.ts'
import type { IndexAnswer } from '../vector-index.ts'
import { AllowedItems } from './allowed-items.ts'
import { BestObjects } from './best-objects.ts'
import { selectivityOf } from './query-run.ts'
import type { WireQuery } from './search-messages.ts'
import { isSeen, type SearchedSegment } from './segment-search.ts'

export interface ExactRunOptions {
  readonly segments: readonly SearchedSegment[]
  readonly sequence: number
  readonly query: WireQuery
  readonly ties: Uint32Array
}

/** One query answered by comparing every seen, allowed vector, in slices. */
export class ExactRun {
  readonly #options: ExactRunOptions
  readonly #best: BestObjects
  readonly #allowed: AllowedItems | null = null
  /** By segment. */
  readonly #scored: number[]
  readonly #rows = new Uint32Array(scratchRows)
  #segment = 0
  #row = 0

  constructor(options: ExactRunOptions) {
    const { query, ties, segments } = options
    this.#options = options
    this.#best = new BestObjects(ties)
    this.#best.begin(query.k)
    this.#scored = segments.map(() => 0)
    if (query.allowed === null) return
    this.#allowed = new AllowedItems()
    this.#allowed.copy(query.allowed.bits, query.exclude)
  }

  get segments(): readonly SearchedSegment[] {
    return this.#options.segments
  }

  /**
   * Looks at up to `rows` more rows, at most 8,192. The answer when these were the last.
   * @throws FreshetError `storage-failed`
   */
  advance(rows: number): IndexAnswer | null {
    const searched = this.#options.segments[this.#segment]
    if (searched === undefined) return this.#answer()
    const to = Math.min(searched.rows, this.#row + rows)
    this.#score(searched, this.#row, to)
    this.#row = to
    if (to < searched.rows) return null
    this.#segment++
    this.#row = 0
    return this.#segment < this.#options.segments.length ? null : this.#answer()
  }

  #score({ segment }: SearchedSegment, from: number, to: number): void {
    const { items, objects } = segment.kernel.columns
    const passing = this.#keepPassing(items, segment.kernel.columns.words, from, to)
    if (passing === 0) return
    segment.prepare(this.#options.query.vector)
    const isDense = passing * 2 > to - from
    const scores = isDense ? segment.scoreRange(from, to) : segment.score(this.#rows.subarray(0, passing))
    for (let i = 0; i < passing; i++) {
      const row = this.#rows[i]!
      this.#best.offer(items[row]!, objects[row]!, scores[isDense ? row - from : i]!)
    }
    this.#scored[this.#segment]! += passing
  }

  #keepPassing(items: Uint32Array, words: Uint32Array, from: number, to: number): number {
    const { sequence, query } = this.#options
    let passing = 0
    for (let row = from; row < to; row++) {
      if (!isSeen(words[row]!, sequence)) continue
      const item = items[row]!
      const isAllowed = this.#allowed === null ? item !== query.exclude : this.#allowed.has(item)
      if (isAllowed) this.#rows[passing++] = row
    }
    return passing
  }

  #answer(): IndexAnswer {
    const { segments, query } = this.#options
    return {
      hits: this.#best.top(),
      complete: this.#best.isAll,
      plan: {
        kind: 'exact',
        selectivity: query.allowed === null ? 1 : selectivityOf(query.allowed),
        effort: 0,
        segments: segments.map(({ rows }, i) => ({ rows, by: 'vectors', scored: this.#scored[i]! })),
      },
    }
  }
}
