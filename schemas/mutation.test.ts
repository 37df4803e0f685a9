import fc from 'fast-check'
import { expect, test } from 'vitest'
import type { ItemId, Offset } from './ids.ts'
import { type Mutation, mutationKey, type RegisterMutation, registerKey, registerOf } from './mutation.ts'
import { arbitraryItemId, arbitraryMutation, arbitraryOffset } from './testing/arbitraries.ts'

/** What a key must tell apart: partition of a watermark; register, item and version of all else. */
const identity = (mutation: Mutation): string =>
  mutation.type === 'Watermark'
    ? JSON.stringify(['Watermark', mutation.partition])
    : JSON.stringify([mutation.type, mutation.itemId, mutation.version.offset])

test('two mutations share a key only when register, item and version are the same', () => {
  fc.assert(
    fc.property(arbitraryMutation, arbitraryMutation, (one, other) => {
      expect(mutationKey(one) === mutationKey(other)).toBe(identity(one) === identity(other))
    }),
    { numRuns: 500 },
  )
})

test('no item id can imitate the key of another item, register or version', () => {
  const itemId = fc.oneof(
    arbitraryItemId,
    fc.constantFrom('a', 'a@1', 'a@1@1', '@', 'o:a', 'w:0') as fc.Arbitrary<ItemId>,
  )
  const offset = fc.oneof(arbitraryOffset, fc.constantFrom(1, 11) as fc.Arbitrary<Offset>)
  const register = fc.constantFrom('o' as const, 'a' as const, 'x' as const, 'f' as const)
  const coordinates = fc.tuple(register, itemId, offset)
  fc.assert(
    fc.property(coordinates, coordinates, (one, other) => {
      expect(registerKey(...one) === registerKey(...other)).toBe(JSON.stringify(one) === JSON.stringify(other))
    }),
    { numRuns: 2000 },
  )
})

test('keys are as documented', () => {
  const at = { itemId: 'sku 1', version: { epoch: '0'.repeat(16), offset: 42 } }
  const of = (type: RegisterMutation['type']) => ({ ...at, type }) as unknown as RegisterMutation
  const mutations = [of('ObjectsPut'), of('AttributesPut'), of('ItemRemoved'), of('WorkFailed')]
  expect(mutations.map(mutationKey)).toEqual(['o:sku 1@42', 'a:sku 1@42', 'x:sku 1@42', 'f:sku 1@42'])
  expect(mutations.map(registerOf)).toEqual(['o', 'a', 'x', 'f'])
  expect(mutationKey({ type: 'Watermark', partition: 7 } as Mutation)).toBe('w:7')
})
