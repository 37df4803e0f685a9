import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { FreshetError } from './errors.ts'
import { parseGeneration, parseItemId } from './ids.ts'
import { arbitraryGeneration, arbitraryItemId } from './testing/arbitraries.ts'

describe('item ids', () => {
  test.each([
    ['a single character', 'a'],
    ['slashes and dots', '../a/b//c?d#e%2F'],
    ['emoji with joiners', '👩‍👩‍👧‍👦🛋️'],
    ['spaces and quotes', ` "it's" `],
    ['512 bytes of ASCII', 'x'.repeat(512)],
    ['512 bytes of emoji', '🛋'.repeat(128)],
  ])('%s are accepted', (_name, id) => {
    expect(parseItemId(id)).toBe(id)
  })

  test.each([
    ['nothing', ''],
    ['513 bytes of ASCII', 'x'.repeat(513)],
    ['516 bytes of emoji', '🛋'.repeat(129)],
    ['4 KB', 'x'.repeat(4096)],
    ['a null character', 'a\u0000b'],
    ['a line feed', 'a\nb'],
    ['a delete character', 'a\u007f'],
    ['a C1 control character', 'a\u0085'],
    ['a lone high surrogate', 'a\ud83d'],
    ['a lone low surrogate', '\udecbb'],
    ['a number', 7],
    ['null', null],
  ])('%s is refused', (_name, id) => {
    expect(refusal(() => parseItemId(id))).toBe('bad-item-id')
  })

  test('what is accepted survives UTF-8, so that an id is its record key', () => {
    fc.assert(
      fc.property(arbitraryItemId, id => {
        expect(Buffer.from(parseItemId(id)).toString()).toBe(id)
      }),
    )
  })
})

describe('generation names', () => {
  test('of a to z, digits and hyphens are accepted', () => {
    fc.assert(fc.property(arbitraryGeneration, name => parseGeneration(name) === name))
  })

  test.each(['', 'V1', 'a_b', 'a.b', 'a b', 'é', 'x'.repeat(41), 'g1\n', 1])('%j is refused', name => {
    expect(refusal(() => parseGeneration(name))).toBe('bad-request')
  })
})

function refusal(parse: () => unknown): string | undefined {
  try {
    parse()
    return undefined
  } catch (error) {
    return error instanceof FreshetError ? error.code : 'another error'
  }
}
