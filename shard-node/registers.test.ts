import fc from 'fast-check'
import { expect, test } from 'vitest'
import { parseItemId } from '../schemas/ids.ts'
import type { RegisterMutation } from '../schemas/mutation.ts'
import { applyMutation, type ItemState, isSearchable, isStale, standingOf, unwritten } from './registers.ts'
import { attributesPut, itemRemoved, objectsPut, workFailed } from './testing/shard-on-log.ts'

const id = 'lamp-1'
const vector = Float32Array.of(1, 0)

function fold(mutations: readonly RegisterMutation[]): ItemState {
  return mutations.reduce(applyMutation, unwritten(parseItemId(id)))
}

/** Content is a function of register and version, as it is in the log. */
const mutation = fc
  .tuple(fc.constantFrom('a', 'o', 'x', 'f', 'retry'), fc.integer({ min: 0, max: 12 }))
  .map(([register, offset]): RegisterMutation => {
    switch (register) {
      case 'a':
        return attributesPut(id, offset)
      case 'o':
        return objectsPut(id, offset, [vector])
      case 'x':
        return itemRemoved(id, offset)
      default:
        return workFailed(id, offset, register === 'retry')
    }
  })

test('any order of the same writes, with duplicates, ends in the same registers', () => {
  const shuffled = fc
    .array(mutation, { maxLength: 14 })
    .chain(written =>
      fc.tuple(fc.constant(written), fc.shuffledSubarray([...written, ...written], { minLength: written.length * 2 })),
    )
  fc.assert(
    fc.property(shuffled, ([written, again]) => {
      expect(fold(again)).toEqual(fold(written))
    }),
    { numRuns: 500 },
  )
})

test('the registers are the maxima of the writes, and what counts follows from them alone', () => {
  fc.assert(
    fc.property(fc.array(mutation, { maxLength: 14 }), written => {
      const newest = (...types: readonly string[]): number =>
        Math.max(-1, ...written.filter(({ type }) => types.includes(type)).map(({ version }) => version.offset))
      const [attributes, objects] = [newest('AttributesPut'), newest('ObjectsPut')]
      const [removal, failure] = [newest('ItemRemoved'), newest('WorkFailed')]
      const state = fold(written)
      expect([state.attributesOffset, state.objectsOffset, state.removalOffset, state.failureOffset]).toEqual([
        attributes,
        objects,
        removal,
        failure,
      ])
      expect(state.attributes !== null).toBe(attributes > removal)
      expect(isSearchable(state)).toBe(attributes > removal && objects > removal)
      expect(isStale(state)).toBe(isSearchable(state) && failure > objects)
      expect(state.attributes?.title ?? `title ${attributes}`).toBe(`title ${attributes}`)
      expect(state.objects?.objects[0]?.label ?? `v${objects}`).toBe(`v${objects}`)
    }),
    { numRuns: 500 },
  )
})

test('a write that changes nothing gives the same state back', () => {
  const state = fold([attributesPut(id, 5), objectsPut(id, 5, [vector]), itemRemoved(id, 3), workFailed(id, 4)])
  for (const again of [attributesPut(id, 5), objectsPut(id, 4, [vector]), itemRemoved(id, 2), workFailed(id, 4)])
    expect(applyMutation(state, again)).toBe(state)
})

test('a re-created item never gets its old objects', () => {
  const removed = fold([attributesPut(id, 1), objectsPut(id, 1, [vector]), itemRemoved(id, 2)])
  const again = applyMutation(removed, attributesPut(id, 3))
  expect(isSearchable(again)).toBe(false)
  expect(standingOf(again)).toBe('pending')
  expect(isSearchable(applyMutation(again, objectsPut(id, 1, [vector])))).toBe(false)
  expect(isSearchable(applyMutation(again, objectsPut(id, 3, [vector])))).toBe(true)
})

test('at equal versions the objects win over a failure', () => {
  const shown = fold([attributesPut(id, 4), objectsPut(id, 4, [vector]), workFailed(id, 4)])
  expect(isStale(shown)).toBe(false)
  expect(isStale(applyMutation(shown, workFailed(id, 5)))).toBe(true)
})

test('a price change at a higher version does not make the vectors stale', () => {
  expect(isStale(fold([attributesPut(id, 8), attributesPut(id, 9), objectsPut(id, 8, [vector])]))).toBe(false)
})

test('given up wins over still being retried at the same version', () => {
  const givenUp = fold([attributesPut(id, 1), workFailed(id, 1, false), workFailed(id, 1, true)])
  expect(givenUp.failure?.retryable).toBe(false)
  expect(standingOf(givenUp)).toBe('failed')
})
