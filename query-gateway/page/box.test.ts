import fc from 'fast-check'
import { expect, test } from 'vitest'
import { area, type Box, boxBetween, isSearchable, moved, overlap, stretched } from './box.js'

const fraction = fc.double({ min: 0, max: 1, noNaN: true })
const anywhere = fc.record({
  x: fc.double({ min: -2, max: 3, noNaN: true }),
  y: fc.double({ min: -2, max: 3, noNaN: true }),
})
const anyBox = fc
  .tuple(fc.record({ x: fraction, y: fraction }), fc.record({ x: fraction, y: fraction }))
  .map(([a, b]) => boxBetween(a, b))
const step = fc.double({ min: -2, max: 2, noNaN: true })

function isInside([left, top, right, bottom]: Box): boolean {
  return left >= 0 && top >= 0 && right <= 1 && bottom <= 1 && left <= right && top <= bottom
}

test('a box between any two points lies inside the picture and does not depend on their order', () => {
  fc.assert(
    fc.property(anywhere, anywhere, (a, b) => {
      expect(isInside(boxBetween(a, b))).toBe(true)
      expect(boxBetween(a, b)).toEqual(boxBetween(b, a))
    }),
  )
})

test('a moved box keeps its size and stays inside the picture', () => {
  fc.assert(
    fc.property(anyBox, step, step, (box, dx, dy) => {
      const after = moved(box, dx, dy)
      expect(isInside(after)).toBe(true)
      expect(area(after)).toBeCloseTo(area(box))
    }),
  )
})

test('stretching never leaves the picture nor turns a box inside out', () => {
  fc.assert(
    fc.property(anyBox, step, step, (box, dx, dy) => {
      expect(isInside(stretched(box, dx, dy))).toBe(true)
    }),
  )
})

test('a slip of the hand is no area to search', () => {
  expect(isSearchable([0.5, 0.5, 0.51, 0.9])).toBe(false)
  expect(isSearchable([0.5, 0.5, 0.55, 0.55])).toBe(true)
})

test('overlap is the shared part of the smaller box', () => {
  expect(overlap([0, 0, 1, 1], [0.25, 0.25, 0.5, 0.5])).toBe(1)
  expect(overlap([0, 0, 0.5, 1], [0.25, 0, 1, 1])).toBeCloseTo(0.5)
  expect(overlap([0, 0, 0.5, 0.5], [0.5, 0.5, 1, 1])).toBe(0)
})
