import fc from 'fast-check'
import { expect, test } from 'vitest'
import { BackfillShare, claimsPerBackfill } from './backfill-share.ts'

/** As the script that claims reckons it. */
const dueOf = ({ sinceTurn }: BackfillShare, claims: number) => Math.floor((sinceTurn + claims) / claimsPerBackfill)

test('one claim of twenty has to be backfill, however the claims come', () => {
  const sizes = fc.array(fc.integer({ min: 1, max: 100 }), { minLength: 1, maxLength: 50 })
  fc.assert(
    fc.property(sizes, claims => {
      const share = new BackfillShare()
      const [total, backfill] = claims.reduce(
        ([all, ofThem], count) => {
          const due = dueOf(share, count)
          share.note(count, due)
          return [all + count, ofThem + due]
        },
        [0, 0],
      )
      expect(backfill).toBe(Math.floor(total / 20))
    }),
  )
})

test('turns that nobody waited for are not made up for, but for one', () => {
  const share = new BackfillShare()
  for (let i = 0; i < 100; i++) share.note(64, 0)
  expect(dueOf(share, 1)).toBe(1)
  expect(dueOf(share, 19)).toBe(1)
})

test('backfill that was claimed for want of other jobs counts as its turn, and earns the others none', () => {
  const share = new BackfillShare()
  share.note(64, 64)
  expect(dueOf(share, 19)).toBe(0)
  expect(dueOf(share, 20)).toBe(1)
})
