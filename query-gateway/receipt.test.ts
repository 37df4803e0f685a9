import fc from 'fast-check'
import { expect, test } from 'vitest'
import { asOffset, asPartition, type TopicEpoch } from '../schemas/ids.ts'
import { arbitraryItemId, arbitraryTopicEpoch } from '../schemas/testing/arbitraries.ts'
import { type AcceptedEvent, decodeReceipt, encodeReceipt } from './receipt.ts'

const arbitraryEvent: fc.Arbitrary<AcceptedEvent> = fc.record({
  epoch: arbitraryTopicEpoch,
  partition: fc.nat(65_535).map(asPartition),
  offset: fc.nat({ max: 2 ** 48 - 1 }).map(asOffset),
  acceptedAtMs: fc.nat({ max: 2 ** 48 - 1 }),
  itemId: arbitraryItemId,
})

test('a receipt gives back the event it was made of', () => {
  fc.assert(
    fc.property(arbitraryEvent, event => {
      const receipt = encodeReceipt(event)
      expect(receipt).toMatch(/^[A-Za-z0-9_-]+$/)
      expect(decodeReceipt(receipt, event.epoch)).toEqual(event)
    }),
  )
})

test('a receipt with one character changed is not one', () => {
  fc.assert(
    fc.property(arbitraryEvent, fc.nat(), fc.constantFrom(...'Ab3-_'), (event, at, other) => {
      const receipt = encodeReceipt(event)
      const place = at % receipt.length
      fc.pre(receipt[place] !== other)
      const changed = receipt.slice(0, place) + other + receipt.slice(place + 1)
      expect(() => decodeReceipt(changed, event.epoch)).toThrow('not a receipt')
    }),
  )
})

test.each(['', 'AQ', 'not a receipt', '%%%', 'A'.repeat(2000)])('%s is not a receipt', text => {
  expect(() => decodeReceipt(text, '00000000000000aa' as TopicEpoch)).toThrow(
    expect.objectContaining({ code: 'bad-receipt' }),
  )
})

test('a receipt of another life of the catalog is refused', () => {
  const [event] = fc.sample(arbitraryEvent, 1)
  const receipt = encodeReceipt({ ...event!, epoch: '00000000000000aa' as TopicEpoch })
  expect(() => decodeReceipt(receipt, '00000000000000ab' as TopicEpoch)).toThrow('another installation')
})
