import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseItemId, type TopicEpoch } from '../../schemas/ids.ts'
import { type DigestElement, objectsElement, setElement } from '../../schemas/partition-digest.ts'
import { BucketSums } from './partition-digest.ts'

const epoch = '00000000000000aa' as TopicEpoch
const modulus = 2n ** 128n
const u32 = fc.integer({ min: 0, max: 0xffffffff })
const element = fc.tuple(fc.constantFrom(0, 1, 0xffffffff), u32, u32, fc.constantFrom(0, 0xffffffff))

function numberOf(words: DigestElement): bigint {
  return Array.from(words).reduceRight((value, word) => (value << 32n) | BigInt(word), 0n)
}

test('sums are those of 128-bit numbers, whatever was added and taken out in between', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(u32, element, fc.boolean()), { maxLength: 40 }), writes => {
      const sums = new BucketSums()
      let total = 0n
      for (const [idHash, words, isKept] of writes) {
        sums.add(idHash, words)
        if (isKept) total += numberOf(words)
      }
      for (const [idHash, words, isKept] of writes) if (!isKept) sums.subtract(idHash, words)
      expect(BigInt(`0x${sums.total()}`)).toBe(total % modulus)
    }),
  )
})

test('the buckets add up to the total, and only the bucket of the item that differs differs', () => {
  const hashes = Array.from({ length: 300 }, (_, i) => Math.imul(i + 1, 0x9e3779b1) >>> 0)
  const sumOf = (idHashes: readonly number[]): BucketSums => {
    const sums = new BucketSums()
    for (const idHash of idHashes) sums.add(idHash, setElement(parseItemId(`item-${idHash}`), epoch, 1))
    return sums
  }
  const whole = sumOf(hashes)
  const total = whole.list().reduce((sum, bucket) => (sum + BigInt(`0x${bucket}`)) % modulus, 0n)
  expect(total.toString(16).padStart(32, '0')).toBe(whole.total())
  const lacking = sumOf(hashes.slice(1)).list()
  const different = whole.list().flatMap((bucket, i) => (bucket === lacking[i] ? [] : [i]))
  expect(different).toEqual([(hashes[0]! >>> 16) % 1024])
})

test('the encoding of elements is fixed: other programs compare digests with ours', () => {
  const set = new BucketSums()
  const objects = new BucketSums()
  set.add(1, setElement(parseItemId('lamp'), epoch, 7))
  objects.add(1, objectsElement(parseItemId('lamp'), '["","https://images.example/lamp.jpg#7"]'))
  expect([set.total(), objects.total()]).toEqual([
    '077fd2544571124bc96e4d4d2658f941',
    'ac2cc3c1213880e358eb0cdfdf2f4b93',
  ])
})
