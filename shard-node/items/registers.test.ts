import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { RegisterMutation } from '../../schemas/mutation.ts'
import { attributesPut, itemRemoved, objectsPut, workFailed } from '../testing/shard-on-log.ts'
import { fold, hasAttributes, isSearchable, isStale, type Registers, standingOf, unwritten } from './registers.ts'
import { mutation } from './testing/item-arbitraries.ts'

const id = 'lamp-1'
const vector = Float32Array.of(1, 0)
const writesOfOneItem = fc.array(mutation(fc.constant(id), 12), { maxLength: 14 })

function foldAll(mutations: readonly RegisterMutation[]): Registers {
  return mutations.reduce(fold, unwritten)
}

test('any order of the same writes, with duplicates, ends in the same registers', () => {
  const shuffled = writesOfOneItem.chain(written =>
    fc.tuple(fc.constant(written), fc.shuffledSubarray([...written, ...written], { minLength: written.length * 2 })),
  )
  fc.assert(
    fc.property(shuffled, ([written, again]) => {
      expect(foldAll(again)).toEqual(foldAll(written))
    }),
    { numRuns: 500 },
  )
})

test('the registers are the maxima of the writes, and what counts follows from them alone', () => {
  fc.assert(
    fc.property(writesOfOneItem, written => {
      const newest = (type: RegisterMutation['type']): number =>
        Math.max(-1, ...written.filter(each => each.type === type).map(({ version }) => version.offset))
      const [attributes, objects] = [newest('AttributesPut'), newest('ObjectsPut')]
      const [removal, failure] = [newest('ItemRemoved'), newest('WorkFailed')]
      const registers = foldAll(written)
      expect(registers).toMatchObject({
        attributesOffset: attributes,
        objectsOffset: objects,
        removalOffset: removal,
        failureOffset: failure,
      })
      expect(hasAttributes(registers)).toBe(attributes > removal)
      expect(isSearchable(registers)).toBe(attributes > removal && objects > removal)
      expect(isStale(registers)).toBe(isSearchable(registers) && failure > objects)
      expect(registers.failureReport !== null).toBe(failure > removal)
    }),
    { numRuns: 500 },
  )
})

test('a write that changes nothing gives the same registers back', () => {
  const registers = foldAll([attributesPut(id, 5), objectsPut(id, 5, [vector]), itemRemoved(id, 3), workFailed(id, 4)])
  for (const again of [attributesPut(id, 5), objectsPut(id, 4, [vector]), itemRemoved(id, 2), workFailed(id, 4)])
    expect(fold(registers, again)).toBe(registers)
})

test('a re-created item never gets its old objects', () => {
  const removed = foldAll([attributesPut(id, 1), objectsPut(id, 1, [vector]), itemRemoved(id, 2)])
  const again = fold(removed, attributesPut(id, 3))
  expect(standingOf(again)).toBe('pending')
  expect(isSearchable(fold(again, objectsPut(id, 1, [vector])))).toBe(false)
  expect(isSearchable(fold(again, objectsPut(id, 3, [vector])))).toBe(true)
})

test('at equal versions the objects win over a failure', () => {
  const shown = foldAll([attributesPut(id, 4), objectsPut(id, 4, [vector]), workFailed(id, 4)])
  expect(isStale(shown)).toBe(false)
  expect(isStale(fold(shown, workFailed(id, 5)))).toBe(true)
})

test('a price change at a higher version does not make the vectors stale', () => {
  expect(isStale(foldAll([attributesPut(id, 8), attributesPut(id, 9), objectsPut(id, 8, [vector])]))).toBe(false)
})

test('given up wins over still being retried at the same version', () => {
  const givenUp = foldAll([attributesPut(id, 1), workFailed(id, 1, false), workFailed(id, 1, true)])
  expect(givenUp.failureReport).toEqual({ retryable: false, attempts: 1 })
  expect(standingOf(givenUp)).toBe('failed')
})
