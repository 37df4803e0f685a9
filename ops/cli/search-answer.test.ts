import picocolors from 'picocolors'
import { expect, test } from 'vitest'
import { SearchAnswer } from '../../schemas/http-search.ts'
import { renderAnswer } from './search.ts'

const plain = picocolors.createColors(false)
const example = SearchAnswer.examples[0] as SearchAnswer
const [result] = example.results

test('near-identical products that were left out are counted beside the one shown', () => {
  const lamp = { ...result!, itemId: 'lamp-3' }
  const answer = { ...example, results: [{ ...result!, alike: { count: 7, itemIds: ['sofa-18'] } }, lamp] }
  const lines = renderAnswer(answer, plain, 120)
  expect(lines.find(line => line.includes('similarity'))).toMatch(/alike/)
  expect(lines.find(line => line.includes('sofa-17'))).toMatch(/\+7$/)
  expect(lines.find(line => line.includes('lamp-3'))).not.toContain('+')
  expect(renderAnswer(example, plain, 120).join('\n')).not.toContain('alike')
})

test('what an answer lacks is told', () => {
  const lines = renderAnswer({ ...example, degraded: ['features-unavailable'] }, plain, 120)
  expect(lines).toContain('not whole: features-unavailable')
})
