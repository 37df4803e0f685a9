import { area, overlap } from './box.js'

/** @typedef {import('./box.js').Box} Box */

/** Two boxes that share more than this of the smaller one show the same thing. */
const sharedShare = 0.6
/** Larger ones are surfaces, such as a table with things on it: they hide nothing. */
const surfaceArea = 0.3
/** A box around a surer one is the whole thing, and the surer one its part, when it is at least this sure in relation. */
const wholeScoreRatio = 0.45

/**
 * Which of the detector's objects a person would count as the things in the photo. The detector is often surer of a
 * part than of the whole: of a lamp's foot, or its shade. What is left out is such a part, a group of things, or the
 * same thing again.
 * @param {readonly { readonly box: Box, readonly score: number }[]} objects best first
 * @returns {ReadonlySet<number>} their indices
 */
export function mainObjects(objects) {
  /** @type {Set<number>} */
  const main = new Set()
  objects.forEach((object, index) => {
    const whole = wholeOf(object, objects) ?? index
    const box = objects[whole]?.box ?? object.box
    const known = [...main].map(other => objects[other]?.box ?? box).filter(other => area(other) < surfaceArea)
    if (known.every(other => overlap(box, other) <= sharedShare)) main.add(whole)
  })
  return main
}

/**
 * @param {{ readonly box: Box, readonly score: number }} part
 * @param {readonly { readonly box: Box, readonly score: number }[]} objects
 * @returns {number | null} index of the largest box that may be the whole
 */
function wholeOf(part, objects) {
  /** @type {number | null} */
  let whole = null
  let size = area(part.box)
  objects.forEach(({ box, score }, index) => {
    const around = area(box) > size && area(box) < surfaceArea && overlap(part.box, box) > sharedShare
    if (!around || score < wholeScoreRatio * part.score) return
    whole = index
    size = area(box)
  })
  return whole
}
