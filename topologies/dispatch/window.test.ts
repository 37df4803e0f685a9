import fc from 'fast-check'
import { expect, test } from 'vitest'
import { asOffset, parseItemId } from '../../schemas/ids.ts'
import { PartitionWindow, type Waiting } from './window.ts'

const items = ['lamp', 'sofa'].map(parseItemId)

function imageEvent(offset: number, item: number): Waiting {
  return {
    offset: asOffset(offset),
    itemId: items[item]!,
    appendTimeMs: 1_000 + offset,
    bytes: 10,
    unread: null,
    image: { hasJob: true, refresh: false, traceparent: '', enqueuedAtMs: 0, refusals: 0 },
    letter: false,
  }
}

test('the watermark is the record read before the first that waits, whatever the gaps', () => {
  const window = new PartitionWindow(asOffset(3))
  expect([window.watermark, window.lowWater, window.position]).toEqual([2, 3, 3])
  window.read(asOffset(5), null)
  window.read(asOffset(9), imageEvent(9, 0))
  window.read(asOffset(12), null)
  expect([window.watermark, window.lowWater, window.position]).toEqual([5, 6, 13])
  expect(window.oldestPendingTimeMs).toBe(1_009)
  window.imagesDone(items[0]!, asOffset(9))
  expect([window.watermark, window.lowWater, window.oldestPendingTimeMs]).toEqual([12, 13, null])
})

test('any events, completed in any order: counts, watermark and slices agree with a plain list', () => {
  const event = fc.record({ gap: fc.integer({ min: 1, max: 3 }), item: fc.nat(1), waits: fc.boolean() })
  const done = fc.record({ item: fc.nat(1), upTo: fc.nat(2_000), redrive: fc.boolean() })
  fc.assert(
    fc.property(
      fc.array(fc.oneof({ weight: 6, arbitrary: event }, { weight: 1, arbitrary: done }), {
        maxLength: 3_000,
        size: 'max',
      }),
      script => {
        const window = new PartitionWindow(asOffset(0))
        let offset = -1
        let plain: { offset: number; item: number; waits: boolean; redriven: boolean }[] = []
        for (const action of script)
          if ('gap' in action) {
            offset += action.gap
            window.read(asOffset(offset), action.waits ? imageEvent(offset, action.item) : null)
            plain.push({ offset, item: action.item, waits: action.waits, redriven: false })
          } else {
            window.imagesDone(items[action.item]!, asOffset(action.upTo))
            plain = plain.map(one =>
              one.item === action.item && one.offset <= action.upTo ? { ...one, waits: false } : one,
            )
            const again = action.redrive ? plain.find(one => !one.waits) : undefined
            if (!again) continue
            window.redrive(imageEvent(again.offset, again.item))
            Object.assign(again, { waits: true, redriven: true })
          }
        const waiting = plain.filter(one => one.waits)
        const first = plain.findIndex(one => one.waits && !one.redriven)
        const watermark = first < 0 ? offset : (plain[first - 1]?.offset ?? -1)
        expect(window.watermark).toBe(watermark)
        expect(window.imageRecords).toBe(waiting.length)
        expect(window.imageBytes).toBe(waiting.reduce((sum, one) => sum + (one.waits ? 10 : 0), 0))
        const seen = new Set(window.slice(5_000).map(one => one.offset))
        expect([...seen].sort((x, y) => x - y)).toEqual(waiting.map(one => one.offset))
      },
    ),
    { numRuns: 150 },
  )
})

test('slices go round all events that wait', () => {
  const window = new PartitionWindow(asOffset(0))
  for (let offset = 0; offset < 10; offset++) window.read(asOffset(offset), imageEvent(offset, offset % 2))
  const offsets = () => window.slice(4).map(({ offset }) => offset)
  expect([offsets(), offsets(), offsets(), offsets()]).toEqual([
    [0, 1, 2, 3],
    [4, 5, 6, 7],
    [8, 9],
    [0, 1, 2, 3],
  ])
})
