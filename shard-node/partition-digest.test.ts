import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseItemId, type TopicEpoch } from '../schemas/ids.ts'
import { murmur2 } from '../schemas/partition.ts'
import { PartitionDigests } from './partition-digest.ts'
import { applyMutation, type ItemState, unwritten } from './registers.ts'
import { attributesPut, itemRemoved, objectsPut, workFailed } from './testing/shard-on-log.ts'

const epoch = '00000000000000aa' as TopicEpoch
const idHash = (itemId: string): number => murmur2(new TextEncoder().encode(itemId)) >>> 0
const vector = Float32Array.of(1, 0)
const zero = '0'.repeat(32)

const write = fc.record({
  item: fc.constantFrom('a', 'b', 'ü', 'lamp/1', '😀'),
  kind: fc.constantFrom(
    attributesPut,
    (id: string, at: number) => objectsPut(id, at, [vector]),
    itemRemoved,
    workFailed,
  ),
  offset: fc.nat(30),
})

test('digests kept up to date write by write equal those made from the final items', () => {
  fc.assert(
    fc.property(fc.array(write, { maxLength: 60 }), writes => {
      const running = new PartitionDigests(epoch)
      const states = new Map<string, ItemState>()
      for (const { item, kind, offset } of writes) {
        const before = states.get(item) ?? unwritten(parseItemId(item))
        const after = applyMutation(before, kind(item, offset))
        running.replace(idHash(item), before, after)
        states.set(item, after)
      }
      const scratch = new PartitionDigests(epoch)
      for (const [item, state] of [...states].reverse())
        scratch.replace(idHash(item), unwritten(parseItemId(item)), state)
      expect(running.total()).toEqual(scratch.total())
      expect(running.buckets()).toEqual(scratch.buckets())
    }),
  )
})

test('the buckets add up to the total, and only the bucket of the item that differs differs', () => {
  const states = Array.from({ length: 300 }, (_, i) =>
    [attributesPut(`item-${i}`, i), objectsPut(`item-${i}`, i, [vector])].reduce(
      applyMutation,
      unwritten(parseItemId(`item-${i}`)),
    ),
  )
  const digestsOf = (items: readonly ItemState[]): PartitionDigests => {
    const digests = new PartitionDigests(epoch)
    for (const item of items) digests.replace(idHash(item.itemId), unwritten(item.itemId), item)
    return digests
  }
  const whole = digestsOf(states)
  const sum = whole.buckets().set.reduce((total, bucket) => (total + BigInt(`0x${bucket}`)) % 2n ** 128n, 0n)
  expect(sum.toString(16).padStart(32, '0')).toBe(whole.total().set)
  const lacking = digestsOf(states.slice(1)).buckets().set
  const different = whole.buckets().set.flatMap((bucket, i) => (bucket === lacking[i] ? [] : [i]))
  expect(different).toEqual([(idHash('item-0') >>> 16) % 1024])
})

test('nothing searchable leaves no objects digest; nothing live leaves none at all', () => {
  const digests = new PartitionDigests(epoch)
  const live = applyMutation(unwritten(parseItemId('a')), attributesPut('a', 3))
  digests.replace(idHash('a'), unwritten(parseItemId('a')), live)
  expect(digests.total().objects).toBe(zero)
  digests.replace(idHash('a'), live, applyMutation(live, itemRemoved('a', 4)))
  expect(digests.total()).toEqual({ set: zero, objects: zero })
})

test('the encoding of elements is fixed: other programs compare digests with ours', () => {
  const digests = new PartitionDigests(epoch)
  const state = [attributesPut('lamp', 7), objectsPut('lamp', 7, [vector])].reduce(
    applyMutation,
    unwritten(parseItemId('lamp')),
  )
  digests.replace(idHash('lamp'), unwritten(parseItemId('lamp')), state)
  expect(digests.total()).toMatchInlineSnapshot(`
    {
      "objects": "ac2cc3c1213880e358eb0cdfdf2f4b93",
      "set": "077fd2544571124bc96e4d4d2658f941",
    }
  `)
})
