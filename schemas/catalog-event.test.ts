import fc from 'fast-check'
import { expect, test } from 'vitest'
import { imageIdentity } from './catalog-event.ts'

const parts = fc.record({
  images: fc.array(fc.oneof(fc.string(), fc.constantFrom('a', 'b', '","', 'a","b', '[', ''))),
  imageVersion: fc.oneof(fc.string(), fc.constantFrom('', 'a', '","')),
})

test('two image identities are equal only when references, their order and the image version are', () => {
  fc.assert(
    fc.property(parts, parts, (one, other) => {
      const same =
        one.imageVersion === other.imageVersion &&
        one.images.length === other.images.length &&
        one.images.every((image, index) => image === other.images[index])
      expect(imageIdentity(one) === imageIdentity(other)).toBe(same)
    }),
    { numRuns: 2000 },
  )
})

test.each([
  [
    { images: ['a', 'b'], imageVersion: '' },
    { images: ['a","b'], imageVersion: '' },
  ],
  [
    { images: ['a', 'b'], imageVersion: '' },
    { images: ['b', 'a'], imageVersion: '' },
  ],
  [
    { images: ['a'], imageVersion: 'b' },
    { images: ['a', 'b'], imageVersion: '' },
  ],
  [
    { images: [''], imageVersion: 'a' },
    { images: ['a'], imageVersion: '' },
  ],
  [
    { images: ['a'], imageVersion: '1' },
    { images: ['a'], imageVersion: '2' },
  ],
])('%j and %j have different image identities', (one, other) => {
  expect(imageIdentity(one)).not.toBe(imageIdentity(other))
})

test('nothing but the pictures is in the identity', () => {
  const images = ['https://img.example.com/1.jpg']
  const cheap = { images, imageVersion: '', price: 1 }
  const dear = { images, imageVersion: '', price: 2 }
  expect(imageIdentity(cheap)).toBe(imageIdentity(dear))
})
