import type { DetectedObject } from '../schemas/image-analysis.ts'
import type { Box } from '../schemas/mutation.ts'

/** Name of the rules below; part of the fingerprint, because they decide which vectors an item has. */
export const objectPolicy = 'whole-and-scene-v1'

export const wholePicture: Box = [0, 0, 1, 1]
/** Objects kept of one indexed picture, the whole picture included. */
export const maxObjectsPerPicture = 8

/** A box this sure of itself, this large and apart from the surer ones counts as a thing of a scene. */
const thingScore = 0.25
const thingAreaRatio = 0.01
/** Shared area in relation to the smaller box. */
const apartRatio = 0.1
/** A thing covering this share of the picture fills it: then the picture is of that one thing. */
const fillingRatio = 0.6
const minThingsInScene = 2

/**
 * Objects of an indexed picture: the whole picture first, then, when it shows a scene, its best things. On a plain
 * product shot the whole picture is the one that matters (boxes alone cost 10 to 15 points of recall).
 */
export function indexedObjects(detected: readonly DetectedObject[]): readonly DetectedObject[] {
  const whole: DetectedObject = { box: wholePicture, label: '', score: 1 }
  const things = thingsOfScene(detected).slice(0, maxObjectsPerPicture - 1)
  return [whole, ...things.map(i => detected[i]!)]
}

/**
 * Index of what a person most likely means in a picture: of a scene, the thing with the best product of score and
 * the root of its area (a clear small lamp loses against a clear big sofa); null for the whole picture. Measured on the
 * furniture set: in 21 of 24 rooms a thing is chosen, each time a product; 14 of 200 product shots are taken for scenes.
 */
export function salientObject(detected: readonly DetectedObject[]): number | null {
  const salience = (i: number) => detected[i]!.score * Math.sqrt(areaOf(detected[i]!.box))
  const [first, ...rest] = thingsOfScene(detected)
  if (first === undefined) return null
  return rest.reduce((best, i) => (salience(i) > salience(best) ? i : best), first)
}

/** Indices of the things, best first, when there are several and none fills the picture; else none. */
function thingsOfScene(detected: readonly DetectedObject[]): readonly number[] {
  const things: number[] = []
  detected.forEach(({ box, score }, i) => {
    const clear = score >= thingScore && areaOf(box) >= thingAreaRatio
    if (clear && things.every(j => overlapRatio(box, detected[j]!.box) < apartRatio)) things.push(i)
  })
  const isScene = things.length >= minThingsInScene && things.every(i => areaOf(detected[i]!.box) < fillingRatio)
  return isScene ? things : []
}

function overlapRatio(a: Box, b: Box): number {
  const width = Math.max(0, Math.min(a[2], b[2]) - Math.max(a[0], b[0]))
  const height = Math.max(0, Math.min(a[3], b[3]) - Math.max(a[1], b[1]))
  return (width * height) / Math.min(areaOf(a), areaOf(b))
}

function areaOf([x0, y0, x1, y1]: Box): number {
  return (x1 - x0) * (y1 - y0)
}
