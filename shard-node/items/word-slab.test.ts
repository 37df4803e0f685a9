import fc from 'fast-check'
import { expect, test } from 'vitest'
import { WordSlab } from './word-slab.ts'

const list = fc.array(fc.integer({ min: 1, max: 0xffffffff }), { maxLength: 9 })

test('lists keep what they hold while others come and go, and what is freed is used again', () => {
  fc.assert(
    fc.property(fc.array(fc.tuple(list, fc.nat()), { maxLength: 80 }), writes => {
      const slab = new WordSlab()
      const held: { at: number; list: readonly number[] }[] = []
      let mostHeld = 0
      for (const [words, choice] of writes) {
        if (choice % 3 === 0 && held.length > 0) {
          const [gone] = held.splice(choice % held.length, 1)
          slab.free(gone!.at, gone!.list.length)
        }
        held.push({ at: slab.store(words), list: words })
        mostHeld = Math.max(mostHeld, held.length)
        for (const each of held)
          expect(Array.from(slab.words.subarray(each.at, each.at + each.list.length))).toEqual(each.list)
      }
      expect(slab.end).toBeLessThanOrEqual(1 + mostHeld * 45)
    }),
    { numRuns: 200 },
  )
})

test('freed lists serve again: a list replaced for ever takes no more memory', () => {
  const slab = new WordSlab()
  const lists = [[1], [1, 2, 3], [1, 2, 3, 4, 5]]
  for (let round = 0; round < 1_000; round++) for (const words of lists) slab.free(slab.store(words), words.length)
  expect(slab.end).toBe(1 + 1 + 3 + 5)
})

test('words of a freed list are cleared but for the link to the next one', () => {
  const slab = new WordSlab()
  slab.free(slab.store([7, 8, 9]), 3)
  expect(Array.from(slab.words.subarray(0, slab.end))).toEqual([0, 0, 0, 0])
})
