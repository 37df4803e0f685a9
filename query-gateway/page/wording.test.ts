import { describe, expect, test } from 'vitest'
import { shortcomings, whatToDo, whatWentWrong } from './wording.js'

const whole = { answered: 2, total: 2 }

describe('what an answer lacks', () => {
  test('nothing: nothing is said', () => {
    expect(shortcomings({ coverage: whole, degraded: [] })).toBe('')
  })

  test('shards: how many, and why, each reason once', () => {
    const part = { coverage: { answered: 1, total: 3 }, degraded: ['shard-timeout', 'shard-timeout', 'shard-failed'] }
    expect(shortcomings(part)).toBe(
      'Answered by 1 of 3 shards: part of the index was too slow, part of the index failed. Some products may be missing.',
    )
  })

  test('a shard that is behind: products may be missing though all answered', () => {
    expect(shortcomings({ coverage: whole, degraded: ['shard-not-ready'] })).toBe(
      'Not a full answer: part of the index is still starting. Some products may be missing.',
    )
  })

  test('features: all products are there, in another order', () => {
    const said = shortcomings({ coverage: whole, degraded: ['features-unavailable'] })
    expect(said).toBe('Ordered by looks alone: what people chose is not known just now.')
    expect(
      shortcomings({ coverage: { answered: 1, total: 2 }, degraded: ['shard-failed', 'features-unavailable'] }),
    ).toBe(`Answered by 1 of 2 shards: part of the index failed. Some products may be missing. ${said}`)
  })

  test('the model of the session: all products are there', () => {
    expect(shortcomings({ coverage: whole, degraded: ['generation-not-held'] })).toBe(
      'Answered by another model than the last search: this server does not have that one.',
    )
  })

  test('a reason that this page does not know yet is said in its own words', () => {
    expect(shortcomings({ coverage: whole, degraded: ['moon-too-full'] })).toContain('moon too full')
  })
})

test('a failure is said as a sentence, and what to do about it', () => {
  expect(whatWentWrong({ code: 'image-corrupt', message: 'the picture is cut short' })).toBe(
    'The picture is cut short.',
  )
  expect(whatWentWrong({ code: 'overloaded', message: '9 queries are at work' })).toBe('The server is busy.')
  expect(whatToDo({ code: 'unknown-to-this-page', retryable: true })).toBe('Try again.')
  expect(whatToDo({ code: 'unknown-to-this-page', retryable: false })).toBe('Choose another photo.')
})
