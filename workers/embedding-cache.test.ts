import fc from 'fast-check'
import { afterAll, beforeAll, beforeEach, expect, test } from 'vitest'
import { FreshetError } from '../schemas/errors.ts'
import type { Fingerprint, ImageDigest } from '../schemas/ids.ts'
import type { IndexedImage } from '../schemas/image-analysis.ts'
import { openKeyValueStore } from '../topologies/embedded/embedded-key-value-store.ts'
import type { EmbeddedEnvironment } from '../topologies/embedded/environment.ts'
import { TemporaryEnvironment } from '../topologies/embedded/testing/temporary-environment.ts'
import type { KeyValueStore } from '../topologies/key-value-store.ts'
import { EmbeddingCache } from './embedding-cache.ts'
import { decodeIndexedImage, encodeIndexedImage } from './indexed-image-codec.ts'

const fingerprint = 'f'.repeat(64) as Fingerprint
const other = 'e'.repeat(64) as Fingerprint
let temporary: TemporaryEnvironment
let environment: EmbeddedEnvironment
let store: KeyValueStore
let stores = 0

beforeAll(async () => {
  temporary = await TemporaryEnvironment.create()
  environment = await temporary.open()
})
afterAll(() => temporary.dispose())
beforeEach(() => {
  store = openKeyValueStore(environment, `cache-${stores++}`)
})

test('any image comes back as it was put', () => {
  const fraction = fc.double({ min: 0, max: 1, noNaN: true })
  const object = fc.record({
    box: fc.tuple(fraction, fraction, fraction, fraction),
    label: fc.string({ maxLength: 60 }),
    score: fraction,
    vector: fc.uint8Array({ minLength: 2, maxLength: 800 }),
  })
  const size = fc.integer({ min: 1, max: 1_600 })
  const objects = fc.array(object, { maxLength: 20 })
  fc.assert(
    fc.property(size, size, objects, (width, height, seen) => {
      const image = { digest: digestOf(1), width, height, objects: seen }
      expect(decodeIndexedImage(encodeIndexedImage(image), image.digest)).toEqual(image)
    }),
  )
})

test('an entry of another format is a miss', () => {
  const bytes = encodeIndexedImage(picture(1))
  bytes[0] = 9
  expect(decodeIndexedImage(bytes, digestOf(1))).toBeUndefined()
  expect(decodeIndexedImage(new Uint8Array(3), digestOf(1))).toBeUndefined()
})

test('a hit needs the same bytes and the same fingerprint', async () => {
  const cache = open(100)
  cache.keep([{ image: picture(1), fingerprint }])
  expect(cache.get(digestOf(1), fingerprint)).toEqual(picture(1))
  expect(cache.get(digestOf(1), other)).toBeUndefined()
  expect(cache.get(digestOf(2), fingerprint)).toBeUndefined()
  expect(cache.status()).toEqual({ entries: 1, hits: 1, misses: 2 })
})

test('it never holds more than its bound, counts right, and knows its count after a restart', async () => {
  const bound = 50
  const seed = fc.sample(
    fc.array(fc.double({ min: 0, max: 0.999, noNaN: true }), { minLength: 40, maxLength: 40 }),
    1,
  )[0]!
  let cache = open(bound, () => seed.shift() ?? 0.5)
  for (let from = 0; from < 300; from += 10) {
    cache.keep(Array.from({ length: 10 }, (_, i) => ({ image: picture(from + i), fingerprint })))
    await cache.close()
    expect(cache.status().entries).toBeLessThanOrEqual(bound)
    expect(cache.status().entries).toBe(countHeld(from + 10))
    for (let i = from; i < from + 10; i++) expect(cache.get(digestOf(i), fingerprint)).toEqual(picture(i))
  }
  const { entries } = cache.status()
  expect(entries).toBeGreaterThan(bound / 2)
  cache = open(bound)
  expect(cache.status().entries).toBe(entries)
})

test('putting again what is there does not count twice', async () => {
  const cache = open(10)
  cache.keep([{ image: picture(1), fingerprint }])
  await cache.close()
  cache.keep([
    { image: picture(1), fingerprint },
    { image: picture(2), fingerprint },
  ])
  await cache.close()
  expect(cache.status().entries).toBe(2)
})

test('what is kept is found at once, stored by itself a moment later, and there after a restart', async () => {
  const cache = open(5_000)
  const kept = Array.from({ length: 700 }, (_, i) => ({ image: picture(i), fingerprint }))
  for (const each of kept) cache.keep([each])
  for (let i = 0; i < 700; i++) expect(cache.get(digestOf(i), fingerprint)).toEqual(picture(i))
  await expect.poll(() => countHeld(700)).toBe(700)
  expect(open(5_000).status().entries).toBe(700)
})

test('a store that takes nothing costs what was kept, and nothing else', async () => {
  const refusing: KeyValueStore = {
    get: key => store.get(key),
    entries: (prefix, options) => store.entries(prefix, options),
    write: async () => {
      throw new FreshetError('storage-full', 'the disk is full')
    },
    clear: async () => {},
    close: async () => {},
  }
  const cache = new EmbeddingCache({ store: refusing, maxEntries: 100, random: () => 0.5 })
  cache.keep([{ image: picture(1), fingerprint }])
  await cache.close()
  expect(cache.get(digestOf(1), fingerprint)).toBeUndefined()
  expect(cache.status()).toEqual({ entries: 0, hits: 0, misses: 1 })
})

function open(maxEntries: number, random = () => 0.5): EmbeddingCache {
  return new EmbeddingCache({ store, maxEntries, random })
}

/** Asked of the store behind the cache's back. */
function countHeld(upTo: number): number {
  const probe = new EmbeddingCache({ store, maxEntries: 1, random: () => 0 })
  return Array.from({ length: upTo }, (_, i) => probe.get(digestOf(i), fingerprint)).filter(Boolean).length
}

function digestOf(n: number): ImageDigest {
  return n.toString(16).padStart(64, '0') as ImageDigest
}

function picture(n: number): IndexedImage {
  const vector = Uint8Array.from([n & 255, n >> 8, 3, 4])
  return {
    digest: digestOf(n),
    width: 10,
    height: 20,
    objects: [{ box: [0, 0, 1, 1], label: 'x', score: 0.5, vector }],
  }
}
