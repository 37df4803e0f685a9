import { seededRandom } from '../../testing/seeded-random.ts'
import { columnsOf, type RowMemoryHandle, visibility } from '../row-memory.ts'

const { bornBit, hiddenBit } = visibility
/** Of every kind, some before and some after sequence 50. */
const wordsOfAllKinds = [
  0,
  0,
  0,
  1,
  50,
  51,
  90,
  bornBit + 1,
  bornBit + 50,
  bornBit + 51,
  hiddenBit,
  hiddenBit + 50,
  hiddenBit + 99,
]

/** Fills all columns at random: finite vectors of every size, items of all numbers, words of all kinds. */
export function fillRows(handle: RowMemoryHandle, seed: number): void {
  const random = seededRandom(seed)
  const below = (end: number): number => Math.floor(random() * end)
  const { codes, items, words, halves } = columnsOf(handle)
  for (let i = 0; i < codes.length; i++) codes[i] = below(256)
  for (let row = 0; row < items.length; row++) {
    items[row] = below(handle.shape.items)
    words[row] = wordsOfAllKinds[below(wordsOfAllKinds.length)]!
  }
  for (let i = 0; i < halves.length; i++) halves[i] = below(2) * 0x8000 + below(0x7c00)
}

export function randomVector(dims: number, seed: number): Float32Array {
  const random = seededRandom(seed)
  return Float32Array.from({ length: dims }, () => random() - 0.5)
}
