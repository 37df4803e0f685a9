import { describe, expect, test } from 'vitest'
import type { EngagementRecord } from '../../../schemas/engagement.ts'
import type { SearchAnswer } from '../../../schemas/http-search.ts'
import { engagementQuestions } from './engagement-set.ts'
import { isAnswered, parseLabelled } from './labelled-set.ts'

const lines = (...given: readonly object[]): string => given.map(line => JSON.stringify(line)).join('\n')

describe('a labelled set', () => {
  test('asks by whole pictures, by boxes, and for categories; pictures lie beside the file', () => {
    const text = lines(
      {
        image: 'views/a.jpg',
        relevant: [
          { id: 'sofa', grade: 2 },
          { id: 'couch', grade: 1 },
        ],
      },
      {
        image: 'room.jpg',
        objects: [
          { id: 'lamp', box: [0, 0, 0.5, 0.5], title: 'A lamp' },
          { id: 'rug', box: [0, 0, 1, 1] },
        ],
      },
      { image: 'b.jpg', categories: ['chair'] },
    )
    const questions = parseLabelled(text, '/sets/mine.jsonl')
    expect(questions.map(({ kind, path, categories }) => [kind, path, categories])).toEqual([
      ['picture', '/sets/views/a.jpg', []],
      ['box', '/sets/room.jpg', []],
      ['box', '/sets/room.jpg', []],
      ['picture', '/sets/b.jpg', ['chair']],
    ])
    expect(questions[0]!.grades.get('couch')).toBe(1)
  })

  test.each([
    ['neither form', { image: 'a.jpg' }],
    ['a box inside out', { image: 'a.jpg', objects: [{ id: 'x', box: [0.5, 0, 0.2, 1] }] }],
    ['no right answer', { image: 'a.jpg', relevant: [] }],
  ])('%s is refused with its line', (_, line) => {
    const text = lines({ image: 'a.jpg', categories: ['chair'] }, line)
    expect(() => parseLabelled(text, 'mine.jsonl')).toThrow(
      expect.objectContaining({ code: 'config-invalid', message: expect.stringContaining('mine.jsonl, line 2') }),
    )
  })

  test('is answered by an item of the highest grade or of a category, not by one that is only like it', () => {
    const [graded, ofCategory] = parseLabelled(
      lines(
        {
          image: 'a',
          relevant: [
            { id: 'sofa', grade: 2 },
            { id: 'couch', grade: 1 },
          ],
        },
        { image: 'b', categories: ['chair'] },
      ),
      'mine.jsonl',
    )
    const results = ['couch', 'stool', 'sofa'].map(itemId => {
      return { itemId, item: { category: itemId === 'stool' ? 'chair' : 'sofa' } }
    }) as unknown as SearchAnswer['results']
    expect([1, 2, 3].map(k => isAnswered(graded!, results, k))).toEqual([false, false, true])
    expect([1, 2, 3].map(k => isAnswered(ofCategory!, results, k))).toEqual([false, true, true])
  })
})

describe('an engagement set', () => {
  const shown = (queryId: string, itemIds: readonly string[], atMs = 0): EngagementRecord => {
    return { type: 'ResultsShown', queryId, generation: 'g1', atMs, itemIds, session: 's' }
  }
  const did = (queryId: string, itemId: string, action = 'click', atMs = 1): EngagementRecord => {
    return { type: 'Engaged', queryId, itemId, action: action as 'click', position: 0, atMs }
  }

  test('asks for what was chosen together, the latest first', () => {
    const records = [
      shown('old', ['a', 'b', 'c'], 1),
      did('old', 'a', 'click', 2),
      did('old', 'c', 'save', 3),
      shown('new', ['d', 'e'], 10),
      did('new', 'd', 'cart', 11),
      did('new', 'e', 'purchase', 12),
    ]
    expect(engagementQuestions(records, 10)).toEqual([
      { itemId: 'd', expected: new Set(['e']) },
      { itemId: 'a', expected: new Set(['c']) },
    ])
    expect(engagementQuestions(records, 1)).toHaveLength(1)
  })

  test('asks nothing of a single choice, of what was taken back, of what was never shown', () => {
    expect(
      engagementQuestions(
        [
          shown('one', ['a', 'b']),
          did('one', 'a'),
          shown('back', ['a', 'b']),
          did('back', 'a'),
          did('back', 'b'),
          did('back', 'b', 'notRelevant'),
          shown('made-up', ['a']),
          did('made-up', 'a'),
          did('made-up', 'z'),
        ],
        10,
      ),
    ).toEqual([])
  })
})
