/**
 * Left, top, right, bottom as fractions of the upright picture, as on the wire.
 * @typedef {readonly [number, number, number, number]} Box
 * @typedef {{ readonly x: number, readonly y: number }} Point in the same fractions
 */

/** @type {Box} */
export const wholePicture = [0, 0, 1, 1]
/** A side under this is a slip of the hand and not an area to search. */
const shortestSide = 0.02

/**
 * The part of the picture between two opposite corners; points outside count as its edge.
 * @param {Point} a
 * @param {Point} b
 * @returns {Box}
 */
export function boxBetween(a, b) {
  const xs = [inside(a.x), inside(b.x)].sort((one, other) => one - other)
  const ys = [inside(a.y), inside(b.y)].sort((one, other) => one - other)
  return [xs[0] ?? 0, ys[0] ?? 0, xs[1] ?? 1, ys[1] ?? 1]
}

/** @param {Box} box */
export function isSearchable([left, top, right, bottom]) {
  return right - left >= shortestSide && bottom - top >= shortestSide
}

/**
 * @param {Box} box
 * @param {number} dx
 * @param {number} dy
 * @returns {Box} of the same size, stopped at the picture's edge
 */
export function moved([left, top, right, bottom], dx, dy) {
  const byX = Math.min(Math.max(dx, -left), 1 - right)
  const byY = Math.min(Math.max(dy, -top), 1 - bottom)
  // rounding may end a hair outside, which the server refuses
  return [inside(left + byX), inside(top + byY), inside(right + byX), inside(bottom + byY)]
}

/**
 * @param {Box} box
 * @param {number} dx
 * @param {number} dy
 * @returns {Box} with the lower right corner moved, never below the shortest side
 */
export function stretched([left, top, right, bottom], dx, dy) {
  const newRight = Math.max(inside(right + dx), Math.min(1, left + shortestSide))
  const newBottom = Math.max(inside(bottom + dy), Math.min(1, top + shortestSide))
  return [left, top, newRight, newBottom]
}

/** @param {Box} box */
export function isWholePicture(box) {
  return box.join() === wholePicture.join()
}

/** @param {Box} box */
export function area([left, top, right, bottom]) {
  return (right - left) * (bottom - top)
}

/**
 * @param {Box} a
 * @param {Box} b
 * @returns {number} how much of the smaller one lies in the other, 0 to 1
 */
export function overlap(a, b) {
  const width = Math.min(a[2], b[2]) - Math.max(a[0], b[0])
  const height = Math.min(a[3], b[3]) - Math.max(a[1], b[1])
  return width <= 0 || height <= 0 ? 0 : (width * height) / Math.min(area(a), area(b))
}

/**
 * Lays an element over the part of the picture that the box names; its container has the picture's size.
 * @param {HTMLElement} overlay
 * @param {Box} box
 */
export function layOver(overlay, [left, top, right, bottom]) {
  overlay.style.left = `${left * 100}%`
  overlay.style.top = `${top * 100}%`
  overlay.style.width = `${(right - left) * 100}%`
  overlay.style.height = `${(bottom - top) * 100}%`
}

/** @param {number} fraction */
function inside(fraction) {
  return Math.min(1, Math.max(0, fraction))
}
