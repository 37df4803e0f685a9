import { visibility } from '../kernel/row-memory.ts'

const { bornBit, hiddenBit, sequenceMask } = visibility

/** What a row is: segment of its item's current set, searchable or not, or of none. */
export type RowStanding = 'visible' | 'hidden' | 'garbage'

/** The word of a row that has been so for every search there is (see `visibility`). */
export const settledWords: Readonly<Record<RowStanding, number>> = { visible: 0, hidden: hiddenBit, garbage: 1 }

export function standingOf(word: number): RowStanding {
  if (word === 0 || (word & bornBit) !== 0) return 'visible'
  return (word & hiddenBit) !== 0 ? 'hidden' : 'garbage'
}

export function isGarbage(word: number): boolean {
  return word !== 0 && (word & (bornBit | hiddenBit)) === 0
}

export function bornAt(sequence: number): number {
  return (bornBit | sequence) >>> 0
}

export function hiddenAt(sequence: number): number {
  return hiddenBit | sequence
}

/** A hidden row ends where it was hidden: the sequence of its end would show it to searches that began before. */
export function diedAt(word: number, sequence: number): number {
  return (word & (bornBit | hiddenBit)) === hiddenBit ? Math.max(1, word & sequenceMask) : sequence
}
