import { describe, expect, test } from 'vitest'
import { parseAvroType } from './bounded-types.ts'

const oneField = (type: unknown): string =>
  JSON.stringify({ type: 'record', name: 'Held', fields: [{ name: 'held', type }] })
const empty = JSON.stringify({ type: 'record', name: 'Held', fields: [{ name: 'other', type: 'int', default: 0 }] })

const arrays = { type: 'array', items: 'string' }
const maps = { type: 'map', values: 'double' }
/** Zigzag varints: 2^31, 2^40, -2^40, -1; and one of 200 bytes, which reads as infinite. */
const two31 = [0x80, 0x80, 0x80, 0x80, 0x10]
const two40 = [0x80, 0x80, 0x80, 0x80, 0x80, 0x40]
const minusTwo40 = [0xff, 0xff, 0xff, 0xff, 0xff, 0x3f]
const minusOne = [0x01]
const infinite = [...new Array<number>(200).fill(0xff), 0x01]

describe('a length beyond the bytes that are left is refused at once', () => {
  const hostile = [
    ['an array of 2^31 items', arrays, two31],
    ['an array of 2^40 items', arrays, two40],
    ['an array of infinite items', arrays, infinite],
    ['an array of -2^40 items with a size', arrays, [...minusTwo40, 0x02]],
    ['an array block of size -1', arrays, [...minusOne, ...minusOne, 0x00]],
    ['a map of 2^31 entries', maps, two31],
    ['a map of 2^40 entries', maps, two40],
    ['a map block of size -1', maps, [...minusOne, ...minusOne, 0x00]],
    ['bytes of length 2^40', 'bytes', two40],
    ['bytes of length -1', 'bytes', minusOne],
    ['bytes of infinite length', 'bytes', infinite],
  ] as const

  test.each(hostile)('%s, read', (_name, type, bytes) => {
    const reader = parseAvroType(oneField(type))
    expect(() => reader.fromBuffer(Buffer.from(bytes))).toThrow()
  })

  test.each(hostile)('%s, passed over by a reader without the field', (_name, type, bytes) => {
    const reader = parseAvroType(empty)
    const resolver = reader.createResolver(parseAvroType(oneField(type)))
    expect(() => reader.fromBuffer(Buffer.from(bytes), resolver)).toThrow()
  })
})

test('blocks that tell their size are read and passed over', () => {
  const blocks = Buffer.from([0x03, 0x08, 0x02, 0x61, 0x02, 0x62, 0x02, 0x02, 0x63, 0x00])
  const writer = parseAvroType(oneField(arrays))
  expect(writer.fromBuffer(blocks)).toStrictEqual({ held: ['a', 'b', 'c'] })
  const reader = parseAvroType(empty)
  expect(reader.fromBuffer(blocks, reader.createResolver(writer))).toStrictEqual({ other: 0 })
})

test('map blocks that tell their size are read and passed over', () => {
  const integers = { type: 'map', values: 'int' }
  const blocks = Buffer.from([0x01, 0x06, 0x02, 0x61, 0x0a, 0x02, 0x02, 0x62, 0x0c, 0x00])
  const writer = parseAvroType(oneField(integers))
  expect(writer.fromBuffer(blocks)).toStrictEqual({ held: { a: 5, b: 6 } })
  const reader = parseAvroType(empty)
  expect(reader.fromBuffer(blocks, reader.createResolver(writer))).toStrictEqual({ other: 0 })
})

test.each([two31, infinite])(
  'an int that does not fit 32 bits is refused, also where it is read as a long',
  (...bytes) => {
    const int = parseAvroType(oneField('int'))
    expect(() => int.fromBuffer(Buffer.from(bytes))).toThrow('int is out of range')
    const long = parseAvroType(oneField('long'))
    expect(() => long.fromBuffer(Buffer.from(bytes), long.createResolver(int))).toThrow('int is out of range')
  },
)

test('bytes are written from any Uint8Array, and from nothing else', () => {
  const type = parseAvroType(oneField('bytes'))
  expect(type.fromBuffer(type.toBuffer({ held: Uint8Array.of(1, 2, 3) }))).toStrictEqual({
    held: Uint8Array.of(1, 2, 3),
  })
  expect(() => type.toBuffer({ held: [1, 2, 3] })).toThrow('Uint8Array')
})

test.each(['', '{', 'null', '{"type":"record"}', '{"type":"array"}', '[["string"],"int"]'])('%j is no schema', text => {
  expect(() => parseAvroType(text)).toThrow()
})
