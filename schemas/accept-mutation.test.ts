import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import {
  type Acceptance,
  acceptMutation,
  acceptVector,
  isBox,
  maxObjectsPerItem,
  unitTolerance,
} from './accept-mutation.ts'
import type { ErrorCode } from './errors.ts'
import type { Fingerprint, ItemId } from './ids.ts'
import type { ItemObject, Mutation, ObjectsPut } from './mutation.ts'
import { arbitraryBox, arbitraryMutation, arbitraryObjectsPut } from './testing/arbitraries.ts'
import { encodeF16 } from './unit-vector.ts'

const dims = 8
const [put] = fc.sample(arbitraryObjectsPut(dims), { numRuns: 1, seed: 5 }) as [ObjectsPut]
const [object] = put.objects as [ItemObject]
const acceptance: Acceptance = { fingerprint: put.fingerprint, dims, topicEpoch: put.version.epoch }

test('a worker output of the right model is accepted', () => {
  fc.assert(
    fc.property(arbitraryObjectsPut(dims), mutation => {
      const { fingerprint, version } = mutation
      expect(acceptMutation(mutation, { fingerprint, dims, topicEpoch: version.epoch })).toBeNull()
    }),
  )
})

test('mutations without vectors are accepted when their epoch is', () => {
  fc.assert(
    fc.property(
      arbitraryMutation.filter(({ type }) => type !== 'ObjectsPut'),
      mutation => {
        const topicEpoch = mutation.type === 'Watermark' ? acceptance.topicEpoch : mutation.version.epoch
        expect(acceptMutation(mutation, { ...acceptance, topicEpoch })).toBeNull()
      },
    ),
  )
})

test.each<[string, Mutation, ErrorCode]>([
  ['of another epoch', { ...put, version: { ...put.version, epoch: 'f'.repeat(16) as never } }, 'topic-epoch'],
  ['of an empty item id', { ...put, itemId: '' as ItemId }, 'bad-item-id'],
  ['of an item id of 513 bytes', { ...put, itemId: 'x'.repeat(513) as ItemId }, 'bad-item-id'],
  ['of another model', { ...put, fingerprint: 'f'.repeat(64) as Fingerprint }, 'fingerprint-mismatch'],
  ['without objects', { ...put, objects: [] }, 'mutation-invalid'],
  ['of too many objects', { ...put, objects: Array(maxObjectsPerItem + 1).fill(object) }, 'mutation-invalid'],
  ['of a box without an area', withObject({ box: [0.5, 0.1, 0.5, 0.9] }), 'mutation-invalid'],
  ['of an image it does not have', withObject({ image: put.imageDigests.length }), 'mutation-invalid'],
  ['of image -1', withObject({ image: -1 }), 'mutation-invalid'],
  ['of image 0.5', withObject({ image: 0.5 }), 'mutation-invalid'],
  ['of a score over 1', withObject({ score: 1.01 }), 'mutation-invalid'],
  ['of a score that is no number', withObject({ score: Number.NaN }), 'mutation-invalid'],
  ['of too few dimensions', withObject({ vector: encodeF16([1]) }), 'vector-dimension'],
  ['of half a component', withObject({ vector: new Uint8Array(dims * 2 - 1) }), 'vector-dimension'],
  ['of an infinite component', withObject({ vector: encodeF16([1e9, ...zeros(dims - 1)]) }), 'vector-not-finite'],
  [
    'of a component that is no number',
    withObject({ vector: encodeF16([Number.NaN, ...zeros(dims - 1)]) }),
    'vector-not-finite',
  ],
  ['of a zero vector', withObject({ vector: encodeF16(zeros(dims)) }), 'vector-not-unit'],
  ['of a vector that is too long', withObject({ vector: encodeF16([1.02, ...zeros(dims - 1)]) }), 'vector-not-unit'],
])('objects %s are refused', (_name, mutation, code) => {
  expect(acceptMutation(mutation, acceptance)).toMatchObject({ code, message: expect.any(String) })
})

test('one bad object among good ones refuses the set', () => {
  const objects = [object, object, { ...object, score: -1 }]
  expect(acceptMutation({ ...put, objects }, acceptance)?.code).toBe('mutation-invalid')
})

describe('query vectors', () => {
  test.each([
    [1 - unitTolerance * 0.99, null],
    [1 + unitTolerance * 0.99, null],
    [1 - unitTolerance * 1.01, 'vector-not-unit'],
    [1 + unitTolerance * 1.01, 'vector-not-unit'],
  ])('a length of %d gives %s', (length, code) => {
    expect(acceptVector(Float32Array.of(length, 0), 2)?.code ?? null).toBe(code)
  })

  test('of another dimension are refused', () => {
    expect(acceptVector(Float32Array.of(1), 2)?.code).toBe('vector-dimension')
  })
})

describe('a box', () => {
  test('lies in the image and has an area', () => {
    fc.assert(fc.property(arbitraryBox, isBox))
  })

  test.each([
    [[0, 0, 1]],
    [[0, 0, 1, 1, 1]],
    [[-0.01, 0, 1, 1]],
    [[0, 0, 1.01, 1]],
    [[0.5, 0, 0.5, 1]],
    [[0.6, 0, 0.5, 1]],
    [[0, Number.NaN, 1, 1]],
    [[0, 0, Number.POSITIVE_INFINITY, 1]],
  ])('is not %j', box => {
    expect(isBox(box)).toBe(false)
  })
})

function withObject(change: Partial<ItemObject>): ObjectsPut {
  return { ...put, objects: [{ ...object, ...change }] }
}

function zeros(count: number): number[] {
  return new Array<number>(count).fill(0)
}
