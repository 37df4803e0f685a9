import fc from 'fast-check'
import { expect, test } from 'vitest'
import { dot, normalise } from '../../../schemas/unit-vector.ts'
import { vectorStatistics } from './vector-statistics.ts'

const dims = 8
const sampled = (vectors: readonly Float32Array[]) => vectors.map((vector, i) => ({ vector, imageDigest: `${i}` }))
const unit = fc
  .array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: dims, maxLength: dims })
  .filter(values => Math.hypot(...values) > 0.1)
  .map(values => normalise(Float32Array.from(values)))

test('the mean cosine is that of all pairs', () => {
  fc.assert(
    fc.property(fc.array(unit, { minLength: 2, maxLength: 12 }), vectors => {
      const pairs = vectors.flatMap((a, i) => vectors.slice(i + 1).map(b => dot(a, b)))
      const mean = pairs.reduce((sum, value) => sum + value, 0) / pairs.length
      expect(vectorStatistics(sampled(vectors), dims).meanCosine).toBeCloseTo(mean, 4)
    }),
  )
})

test('one vector for all is a mean cosine of 1, and every picture a duplicate', () => {
  const one = normalise(new Float32Array(dims).fill(1))
  const { meanCosine, duplicateShare } = vectorStatistics(sampled([one, one, one]), dims)
  expect(meanCosine).toBeCloseTo(1, 5)
  expect(duplicateShare).toBe(1)
})

test('items with one and the same picture are no duplicates', () => {
  const [a, b] = [new Float32Array(dims).fill(1), Float32Array.from({ length: dims }, (_, i) => (i === 0 ? 1 : 0))]
  const same = [a, a, b].map((vector, i) => ({
    vector: normalise(vector.slice()),
    imageDigest: i < 2 ? 'same' : 'other',
  }))
  expect(vectorStatistics(same, dims).duplicateShare).toBe(0)
})

test('lengths are those the vectors have, and another dimension is counted', () => {
  const long = new Float32Array(dims).fill(1)
  const statistics = vectorStatistics(sampled([normalise(long.slice()), long, new Float32Array(3)]), dims)
  expect(statistics).toMatchObject({ count: 3, wrongDims: 1 })
  expect(statistics.normMin).toBeCloseTo(1, 5)
  expect(statistics.normMax).toBeCloseTo(Math.sqrt(dims), 5)
})

test('nothing is known of nothing', () => {
  expect(vectorStatistics([], dims)).toEqual({
    count: 0,
    wrongDims: 0,
    normMin: null,
    normMax: null,
    normMean: null,
    meanCosine: null,
    duplicateShare: null,
  })
})
