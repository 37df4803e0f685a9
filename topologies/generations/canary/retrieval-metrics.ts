import type { Box } from '../../../schemas/mutation.ts'

/** True when one of the wanted ids is among the first `k`. */
export function isHit(ranked: readonly string[], wanted: ReadonlySet<string>, k: number): boolean {
  return ranked.slice(0, k).some(id => wanted.has(id))
}

/** nDCG@k with gain 2^grade − 1; ids without a grade gain nothing. */
export function ndcg(ranked: readonly string[], grades: ReadonlyMap<string, number>, k: number): number {
  const ideal = discountedGain([...grades.values()].sort((a, b) => b - a).slice(0, k))
  return ideal === 0 ? 0 : discountedGain(ranked.slice(0, k).map(id => grades.get(id) ?? 0)) / ideal
}

function discountedGain(grades: readonly number[]): number {
  return grades.reduce((sum, grade, place) => sum + (2 ** grade - 1) / Math.log2(place + 2), 0)
}

/** Index of the box that overlaps `wanted` best, if by an intersection over union of at least `least`; else null. */
export function bestOverlap(boxes: readonly Box[], wanted: Box, least: number): number | null {
  const overlaps = boxes.map(box => intersectionOverUnion(box, wanted))
  const best = overlaps.indexOf(Math.max(...overlaps))
  return best >= 0 && overlaps[best]! >= least ? best : null
}

export function intersectionOverUnion(a: Box, b: Box): number {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0])
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1])
  if (width <= 0 || height <= 0) return 0
  const common = width * height
  return common / (areaOf(a) + areaOf(b) - common)
}

const areaOf = ([x0, y0, x1, y1]: Box): number => (x1 - x0) * (y1 - y0)
