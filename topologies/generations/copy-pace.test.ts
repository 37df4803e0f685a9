import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CopyPace } from './copy-pace.ts'

const free = { isPaused: false, imagesPerSecond: null }

/** Records written in so many seconds, asked ten times a second for more than there can be. */
function written(pace: CopyPace, imagesPerSecond: number | null, from: number, seconds: number): number {
  let total = 0
  for (let tenth = 0; tenth < 10 * seconds; tenth++)
    total += pace.take(100, { isPaused: false, imagesPerSecond }, 1_000 * from + 100 * tenth)
  return total
}

test('without a bound all is written that is wanted, and nothing while it is paused', () => {
  const pace = new CopyPace(0)
  expect(pace.take(128, free, 0)).toBe(128)
  expect(pace.take(128, { ...free, isPaused: true }, 60_000)).toBe(0)
  expect(pace.take(128, free, 60_000)).toBe(128)
})

test('what was not written while it was paused is not made up for', () => {
  const pace = new CopyPace(0)
  written(pace, 10, 0, 5)
  pace.take(100, { isPaused: true, imagesPerSecond: 10 }, 600_000)
  expect(pace.take(100, { isPaused: false, imagesPerSecond: 10 }, 600_000)).toBeLessThanOrEqual(1)
})

test('a rate is kept from the first second on, also one below one a second, and one that changes', () => {
  fc.assert(
    fc.property(fc.array(fc.double({ min: 0.2, max: 200, noNaN: true }), { minLength: 1, maxLength: 8 }), rates => {
      const pace = new CopyPace(0)
      let before = 0
      for (const [turn, rate] of rates.entries()) {
        const total = written(pace, rate, turn * 20, 20)
        // What was saved up at the rate before is a second's worth at most.
        expect(total).toBeLessThanOrEqual(20 * rate + Math.max(1, before) + 1)
        expect(total).toBeGreaterThanOrEqual(19 * rate - 2)
        before = rate
      }
    }),
  )
})
