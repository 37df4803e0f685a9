import { describe, expect, test } from 'vitest'
import type { DetectedObject } from '../schemas/image-analysis.ts'
import type { Box } from '../schemas/mutation.ts'
import { indexedObjects, maxObjectsPerPicture, salientObject, wholePicture } from './object-policy.ts'

const lamp = seen([0.1, 0.1, 0.2, 0.4], 0.7)
const sofa = seen([0.3, 0.4, 0.9, 0.9], 0.5)
const everything = seen([0, 0, 1, 0.9], 0.6)

describe('indexed objects', () => {
  test('of a picture in which nothing is seen: the whole', () => {
    expect(indexedObjects([])).toEqual([{ box: wholePicture, label: '', score: 1 }])
  })

  test('of a scene: the whole, then its things', () => {
    expect(indexedObjects([lamp, sofa])).toEqual([{ box: wholePicture, label: '', score: 1 }, lamp, sofa])
  })

  test.each([
    ['one thing', [lamp]],
    ['a thing that fills the picture', [everything, lamp]],
    ['parts of one thing', [sofa, seen([0.35, 0.45, 0.6, 0.8], 0.4)]],
    ['a second thing nobody is sure of', [lamp, seen([0.3, 0.4, 0.9, 0.9], 0.2)]],
    ['a second thing of a few pixels', [sofa, seen([0.1, 0.1, 0.15, 0.15], 0.9)]],
  ])('of a picture with %s: the whole alone', (_, detected) => {
    expect(indexedObjects(detected)).toHaveLength(1)
  })

  test('at most the best few', () => {
    const row = Array.from({ length: 16 }, (_, i) => seen([i / 16, 0, (i + 1) / 16, 0.5], 0.9 - i / 100))
    const objects = indexedObjects(row)
    expect(objects).toHaveLength(maxObjectsPerPicture)
    expect(objects[1]).toEqual(row[0])
  })
})

describe('the salient object', () => {
  test('of a scene is the clear large one', () => expect(salientObject([lamp, sofa])).toBe(1))
  test('of a product shot is the whole', () => expect(salientObject([everything])).toBeNull())
  test('of nothing is the whole', () => expect(salientObject([])).toBeNull())
})

function seen(box: Box, score: number): DetectedObject {
  return { box, label: 'chair', score }
}
