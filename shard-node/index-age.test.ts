import { expect, test } from 'vitest'
import { asOffset, asPartition } from '../schemas/ids.ts'
import { indexAgeMs } from './index-age.ts'

const partitions = [asPartition(0), asPartition(1)]
const at = { nowMs: 10_000, sinceMs: 9_500 }

function watermark(oldestPendingTimeMs: number | null, writtenAtMs: number) {
  return { offset: asOffset(7), oldestPendingTimeMs, endOffset: asOffset(8), writtenAtMs }
}

test('an index that no watermark vouches for is never called fresh', () => {
  expect(indexAgeMs(new Map(), partitions, at)).toBe(500)
  expect(indexAgeMs(new Map([[partitions[0]!, watermark(null, 10_000)]]), partitions, at)).toBe(500)
})

test('it is as old as the oldest event of any partition that is not complete', () => {
  const watermarks = new Map([
    [partitions[0]!, watermark(null, 9_900)],
    [partitions[1]!, watermark(8_800, 9_900)],
  ])
  expect(indexAgeMs(watermarks, partitions, at)).toBe(1_200)
})

test('a dispatcher silent for more than two seconds is taken for dead', () => {
  const watermarks = new Map(partitions.map(partition => [partition, watermark(null, 8_000)]))
  expect(indexAgeMs(watermarks, partitions, at)).toBe(0)
  expect(indexAgeMs(watermarks, partitions, { ...at, nowMs: 10_001 })).toBe(2_001)
})
