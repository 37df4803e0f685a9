import { expect, test } from 'vitest'
import { parseItemId } from './ids.ts'
import { murmur2, partitionOf } from './partition.ts'

// Expected values: UtilsTest.testMurmur2 of Apache Kafka's clients.
test.each([
  ['21', -973932308],
  ['foobar', -790332482],
  ['a-little-bit-long-string', -985981536],
  ['a-little-bit-longer-string', -1486304829],
  ['lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8', -58897971],
])('murmur2 of %s agrees with the Java client', (key, expected) => {
  expect(murmur2(Buffer.from(key))).toBe(expected)
})

test('an item always lands in a partition of the topic', () => {
  for (let i = 0; i < 1000; i++) {
    const partition = partitionOf(parseItemId(`item-é-${i}`), 8)
    expect(partition).toBeGreaterThanOrEqual(0)
    expect(partition).toBeLessThan(8)
  }
})
