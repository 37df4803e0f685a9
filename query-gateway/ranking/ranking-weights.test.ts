import { readFileSync } from 'node:fs'
import { describe, expect, test } from 'vitest'
import { asFreshetError } from '../../schemas/errors.ts'
import { type RankingWeights, readWeights, WeightsBook } from './ranking-weights.ts'

const name = 'weights-v1.json'
const bytes = readFileSync(new URL(name, import.meta.url))
const file = JSON.parse(bytes.toString('utf8'))
const changed = (change: object) => Buffer.from(JSON.stringify({ ...file, ...change }))

describe('a weights file', () => {
  test('version 1 is what it was: write a new version instead of changing it', () => {
    expect(readWeights(name, bytes).digest).toMatchInlineSnapshot(
      `"32888e5a7602723c22f2eb95ab42cf480e3316a29f974fa5a3d63ef38b814925"`,
    )
  })

  test.each([
    ['text', Buffer.from('no JSON'), 'JSON'],
    ['of another name', changed({ weights: 'v2' }), 'v2'],
    ['of more than its bound', changed({ bound: 0.01 }), 'sum'],
    ['with a part too many', changed({ parts: { ...file.parts, luck: 0.01 } }), 'luck'],
    ['with a part too few', changed({ parts: { availability: 0.01 } }), 'region'],
    ['with a negative weight', changed({ parts: { ...file.parts, price: -0.01 } }), 'price'],
    ['with no prior', changed({ priors: { ...file.priors, clickRate: 0 } }), 'clickRate'],
    ['for no model', changed({ models: [] }), 'models'],
  ])('that is %s is refused by its field', (_name, given, word) => {
    try {
      readWeights(name, given)
      expect.unreachable()
    } catch (thrown) {
      const { code, message } = asFreshetError(thrown)
      expect(code).toBe('config-invalid')
      expect(message).toContain(word)
    }
  })
})

describe('a generation is ranked with', () => {
  const of = (weights: string, models: readonly string[]): RankingWeights => ({
    ...readWeights(name, bytes),
    weights,
    models: [...models],
  })
  const book = new WeightsBook([of('v1', ['*']), of('v2', ['lamps']), of('v3', ['lamps', 'rugs'])])

  test.each([
    ['those it names', { model: 'lamps', weights: 'v2' }, 'v2'],
    ['the newest made for its model', { model: 'lamps' }, 'v3'],
    ['those for all', { model: 'sofas' }, 'v1'],
  ])('%s', (_name, generation, expected) => {
    expect(book.of(generation).weights).toBe(expected)
  })

  test('none that are not there', () => {
    expect(() => book.of({ model: 'lamps', weights: 'v9' })).toThrow('v9')
    expect(() => new WeightsBook([of('v2', ['lamps'])]).of({ model: 'sofas' })).toThrow('sofas')
  })
})
