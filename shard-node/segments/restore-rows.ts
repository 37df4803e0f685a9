import { FreshetError } from '../../schemas/errors.ts'
import type { IndexSegment } from './index-segment.ts'
import { isGarbage, type RowStanding, settledWords } from './row-word.ts'

/** A segment read from disk and the ordinals of its rows. */
export interface SavedRowsRead {
  readonly segment: IndexSegment
  readonly ordinals: Float64Array
}

/** Rows of an index as they are when it begins. */
export interface RestoredRows {
  readonly segments: readonly IndexSegment[]
  /** Item numbers lie below. */
  readonly itemLimit: number
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
 * Gives every row the visibility that the registers say, and looks whether each item's current set is there as a whole.
 * @throws FreshetError `checkpoint-corrupt` when one is not, or is there twice
 */
export function restoreRows(read: readonly SavedRowsRead[], { standing, currentRows }: Registers): RestoredRows {
  const itemLimit = read.reduce((most, { segment }) => Math.max(most, largestItemOf(segment) + 1), 0)
  const isFound = new Uint8Array(itemLimit)
  let visibleRows = 0
  let visibleItems = 0
  let found = 0
  let nextOrdinal = 0
  for (const { segment, ordinals } of read) {
    const { items, objects, words } = segment.columns
    nextOrdinal = Math.max(nextOrdinal, segment.lastOrdinal + 1)
    for (let row = 0; row < segment.rows; row++) {
      const item = items[row]!
      const stands = standing(item, ordinals[row]!)
      words[row] = settledWords[stands]
      if (stands === 'garbage') {
        segment.garbage++
        continue
      }
      const isFirst = objects[row] === 0
      if (isFirst ? isFound[item] === 1 : !goesOn({ segment, ordinals }, row)) throw incomplete(item)
      isFound[item] = 1
      if (isFirst) segment.noteCurrentSet(row)
      found++
      if (stands === 'visible') visibleRows++
      if (stands === 'visible' && isFirst) visibleItems++
    }
  }
  if (found !== currentRows)
    throw new FreshetError('checkpoint-corrupt', `${found} rows of current sets, the registers know ${currentRows}`)
  return { segments: read.map(({ segment }) => segment), itemLimit, visibleRows, visibleItems, nextOrdinal }
}

function largestItemOf({ columns: { items }, rows }: IndexSegment): number {
  let most = -1
  for (let row = 0; row < rows; row++) most = Math.max(most, items[row]!)
  return most
}

/** The row belongs to the set of the row before it. */
function goesOn({ segment, ordinals }: SavedRowsRead, row: number): boolean {
  const { items, objects, words } = segment.columns
  const before = row - 1
  return (
    items[before] === items[row] &&
    objects[before] === objects[row]! - 1 &&
    ordinals[before] === ordinals[row]! - 1 &&
    !isGarbage(words[before]!)
  )
}

function incomplete(item: number): FreshetError {
  return new FreshetError('checkpoint-corrupt', `the vectors of item ${item} are not one set`)
}
