import fc from 'fast-check'
import { expect, test } from 'vitest'
import { asOffset } from '../../schemas/ids.ts'
import { decodeEntry, emptyEntry, encodeEntry, type ItemEntry } from './item-entry.ts'

const offset = fc.integer({ min: -1, max: 2 ** 48 }).map(asOffset)
const entry: fc.Arbitrary<ItemEntry> = fc.record({
  image: fc.record({
    state: fc.constantFrom('none', 'pending', 'embedded', 'failed', 'removed'),
    version: offset,
    identity: fc.string({ unit: 'grapheme' }),
    pendingSinceMs: fc.nat(),
  }),
  a: offset,
  o: offset,
  x: offset,
  f: offset,
  removedAtMs: fc.integer({ min: -1, max: 2 ** 45 }),
  refused: offset,
})

test('an entry survives the store', () => {
  fc.assert(
    fc.property(entry, one => {
      expect(decodeEntry(encodeEntry(one))).toEqual(one)
    }),
  )
})

/** Bytes of format 1: they must decode for ever, or the format's number must change. */
const golden =
  '010200000000000022400000000000000000000000000000264000000000000022400000000000000840' +
  '000000000000f0bf00008056febc7842000000000000f0bf5b22222c22612f31225d'

test('format 1 decodes to what was written', () => {
  expect(decodeEntry(Buffer.from(golden, 'hex'))).toEqual({
    image: { state: 'embedded', version: 9, identity: '["","a/1"]', pendingSinceMs: 0 },
    a: 11,
    o: 9,
    x: 3,
    f: -1,
    removedAtMs: 1_700_000_000_000,
    refused: -1,
  })
})

test.each([
  ['another format', Buffer.concat([Buffer.from([2]), Buffer.from(encodeEntry(emptyEntry)).subarray(1)])],
  ['an unknown state', Buffer.concat([Buffer.from([1, 9]), Buffer.from(encodeEntry(emptyEntry)).subarray(2)])],
  ['too few bytes', Buffer.from(encodeEntry(emptyEntry)).subarray(0, 65)],
])('%s is refused', (_, bytes) => {
  expect(() => decodeEntry(bytes)).toThrow(expect.objectContaining({ code: 'data-format' }))
})
