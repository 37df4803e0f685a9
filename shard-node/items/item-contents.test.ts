import { expect, test } from 'vitest'
import { asPartition, type ItemId } from '../../schemas/ids.ts'
import { ItemContents } from './item-contents.ts'
import { RecordEncoder } from './item-record.ts'

/** Contents that tell their place, and which of them were read from the log since the last look. */
function openContents(limit: number) {
  const encoder = new RecordEncoder()
  const reads: number[] = []
  const recordAt = (place: number): Buffer =>
    Buffer.from(
      encoder.encode({
        type: 'attributes',
        item: place,
        partition: asPartition(0),
        offset: place,
        appendTimeMs: 0,
        flag: true,
        value: 0,
        objectCount: 0,
        words: [],
        itemId: `item-${place}` as ItemId,
        content: { place },
      }),
    )
  const log = {
    read: (place: number) => {
      reads.push(place)
      const block = recordAt(place)
      return { block, from: 0, to: block.length }
    },
  }
  const contents = new ItemContents(log, limit)
  const read = (...places: readonly number[]) => {
    for (const at of places) expect(contents.read({ at, bytes: 100 })).toEqual({ place: at })
    return reads.splice(0)
  }
  return { contents, read }
}

test('a content is read from the log once while it is kept, and is the same object', () => {
  const { contents, read } = openContents(4)
  expect(read(1, 2, 1, 2, 2)).toEqual([1, 2])
  expect(contents.read({ at: 1, bytes: 100 })).toBe(contents.read({ at: 1, bytes: 100 }))
})

test('of those beyond the limit the ones that were not read again go first', () => {
  const { read } = openContents(3)
  read(1, 2, 3)
  read(2, 3)
  expect(read(4)).toEqual([4])
  expect(read(2, 3, 4)).toEqual([])
  expect(read(1)).toEqual([1])
})

test('never more than the limit is kept, however they are read', () => {
  const { contents, read } = openContents(8)
  let seed = 7
  for (let i = 0; i < 2_000; i++) {
    seed = (seed * 48_271) % 2_147_483_647
    read(seed % 30)
    expect(contents.memoryBytes).toBeLessThanOrEqual(8 * 100 * 4)
  }
  expect(contents.memoryBytes).toBe(8 * 100 * 4)
})
