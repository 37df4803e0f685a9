import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { arbitraryUnitVector } from './testing/arbitraries.ts'
import { decodeF16, dot, encodeF16, norm, normalise } from './unit-vector.ts'

const halves = Array.from({ length: 65_536 }, (_, half) => half)
const isNan = (half: number): boolean => (half & 0x7c00) === 0x7c00 && (half & 0x3ff) !== 0
const decodeHalf = (half: number): number => decodeF16(Uint8Array.of(half & 0xff, half >>> 8))[0]!
function encodeHalf(value: number): number {
  const [low, high] = encodeF16([value])
  return low! | (high! << 8)
}

describe('f16', () => {
  // IEEE 754-2019, binary16.
  test.each([
    [0x0000, 0],
    [0x8000, -0],
    [0x0001, 2 ** -24],
    [0x03ff, 1023 * 2 ** -24],
    [0x0400, 2 ** -14],
    [0x3555, 0.333251953125],
    [0x3c00, 1],
    [0x3c01, 1 + 2 ** -10],
    [0xc000, -2],
    [0x7bff, 65_504],
    [0x7c00, Number.POSITIVE_INFINITY],
    [0xfc00, Number.NEGATIVE_INFINITY],
    [0x7e00, Number.NaN],
  ])('%i is %d', (half, value) => {
    expect(decodeHalf(half)).toBe(value)
    expect(encodeHalf(value)).toBe(half)
  })

  test('each of the 65,536 halves comes back as itself', () => {
    const lost = halves.filter(half => !isNan(half) && encodeHalf(decodeHalf(half)) !== half)
    expect(lost).toEqual([])
    expect(halves.filter(half => isNan(half) && !Number.isNaN(decodeHalf(encodeHalf(decodeHalf(half)))))).toEqual([])
  })

  test('numbers between two halves round to the nearest, a tie to the even one, subnormals included', () => {
    const wrong: number[] = []
    for (let half = 0; half < 0x7bff; half++) {
      const [below, above] = [decodeHalf(half), decodeHalf(half + 1)]
      const tie = (below + above) / 2
      const even = half % 2 === 0 ? half : half + 1
      const roundings = [encodeHalf(nextBefore(tie)), encodeHalf(tie), encodeHalf(nextAfter(tie))]
      const mirrored = [encodeHalf(-nextBefore(tie)), encodeHalf(-tie), encodeHalf(-nextAfter(tie))]
      const expected = [half, even, half + 1]
      if (!roundings.every((rounded, i) => rounded === expected[i])) wrong.push(half)
      if (!mirrored.every((rounded, i) => rounded === (expected[i]! | 0x8000))) wrong.push(-half)
    }
    expect(wrong).toEqual([])
  })

  test('beyond the largest half is infinite from half a step on', () => {
    expect([65_519.996, 65_520, 1e6, 3e38].map(encodeHalf)).toEqual([0x7bff, 0x7c00, 0x7c00, 0x7c00])
  })

  test('agrees with the half-precision numbers of the runtime, where it has them', context => {
    const { setFloat16, getFloat16 } = DataView.prototype as DataView & Float16View
    if (setFloat16 === undefined) return context.skip('this Node has no DataView.setFloat16; Node 24 does')
    const view = new DataView(new ArrayBuffer(2))
    const decoded = halves.filter(half => {
      view.setUint16(0, half, true)
      return !Object.is(getFloat16.call(view, 0, true), decodeHalf(half))
    })
    expect(decoded).toEqual([])
    fc.assert(
      fc.property(fc.float({ noNaN: true }), value => {
        setFloat16.call(view, 0, value, true)
        expect(encodeHalf(value)).toBe(view.getUint16(0, true))
      }),
      { numRuns: 20_000 },
    )
  })

  test('decoding into a part of a larger array leaves the rest', () => {
    const target = new Float32Array(5).fill(9)
    decodeF16(encodeF16([0.5, -0.25]), target, 2)
    expect([...target]).toEqual([9, 9, 0.5, -0.25, 9])
  })
})

describe('arithmetic', () => {
  test('dot is the sum of products, whatever the length, from an offset', () => {
    const integers = fc.array(fc.integer({ min: -100, max: 100 }), { maxLength: 19 })
    fc.assert(
      fc.property(integers, fc.nat(7), (values, offset) => {
        const a = Float32Array.from(values)
        const b = new Float32Array(offset + values.length).fill(3)
        expect(dot(a, b, offset)).toBe(values.reduce((sum, value) => sum + value * 3, 0))
      }),
    )
  })

  test('a normalised vector has length 1, a zero vector stays zero', () => {
    fc.assert(
      fc.property(arbitraryUnitVector(17), vector => {
        expect(norm(vector)).toBeCloseTo(1, 6)
      }),
    )
    expect([...normalise(new Float32Array(4))]).toEqual([0, 0, 0, 0])
  })

  test('a unit vector keeps its length within a thousandth as f16', () => {
    fc.assert(
      fc.property(arbitraryUnitVector(256), vector => {
        expect(Math.abs(norm(decodeF16(encodeF16(vector))) - 1)).toBeLessThan(1e-3)
      }),
    )
  })
})

interface Float16View {
  readonly setFloat16: (byteOffset: number, value: number, littleEndian: boolean) => void
  readonly getFloat16: (byteOffset: number, littleEndian: boolean) => number
}

/** The f32 next to a positive one. */
const nextAfter = (value: number): number => nudge(value, 1)
const nextBefore = (value: number): number => nudge(value, -1)
function nudge(value: number, steps: number): number {
  const f32 = Float32Array.of(value)
  new Uint32Array(f32.buffer)[0]! += steps
  return f32[0]!
}
