import { FreshetError } from '../../schemas/errors.ts'
import { CurrentSets } from './current-sets.ts'
import type { IndexSegment } from './index-segment.ts'
import { type RowStanding, settledWords } from './row-word.ts'

/** A segment read from disk and the ordinals of its rows. */
export interface SavedRowsRead {
  readonly segment: IndexSegment
  readonly ordinals: Float64Array
}

/** Rows of an index as they are when it begins. */
export interface RestoredRows {
  readonly segments: readonly IndexSegment[]
  readonly sets: CurrentSets
  readonly visibleRows: number
  readonly visibleItems: number
  readonly nextOrdinal: number
}

export interface Registers {
  /** What the registers say of a saved row. */
  readonly standing: (item: number, ordinal: number) => RowStanding
  /** Rows of all current sets. */
  readonly currentRows: number
}

/**
 * Gives every row the visibility that the registers say, and finds each item's current set.
 * @throws FreshetError `checkpoint-corrupt` when a set that the registers know is not there as a whole
 */
export function restoreRows(read: readonly SavedRowsRead[], { standing, currentRows }: Registers): RestoredRows {
  const sets = new CurrentSets()
  let visibleRows = 0
  let visibleItems = 0
  let found = 0
  let nextOrdinal = 0
  for (const { segment, ordinals } of read) {
    const { items, objects, words } = segment.columns
    nextOrdinal = Math.max(nextOrdinal, segment.lastOrdinal + 1)
    for (let row = 0; row < segment.rows; row++) {
      const item = items[row]!
      const ordinal = ordinals[row]!
      const stands = standing(item, ordinal)
      words[row] = settledWords[stands]
      if (stands === 'garbage') {
        segment.garbage++
        continue
      }
      const count = sets.countOf(item)
      const first = ordinal - objects[row]!
      if (objects[row] !== count || (count > 0 && sets.firstOrdinalOf(item) !== first)) throw incomplete(item)
      sets.set(item, first, count + 1)
      found++
      if (stands === 'visible') visibleRows++
      if (stands === 'visible' && count === 0) visibleItems++
    }
  }
  if (found !== currentRows)
    throw new FreshetError('checkpoint-corrupt', `${found} rows of current sets, the registers know ${currentRows}`)
  return { segments: read.map(({ segment }) => segment), sets, visibleRows, visibleItems, nextOrdinal }
}

function incomplete(item: number): FreshetError {
  return new FreshetError('checkpoint-corrupt', `the vectors of item ${item} are not one set`)
}
