import { expect, test } from 'vitest'
import type { Status } from '../../schemas/http-operations.ts'
import { historyPoints, LiveHistory } from './live-history.js'

const at = (seconds: number, searchable: number) =>
  ({ atMs: seconds * 1000 + 40, rates: { searchable }, indexAgeMs: 0 }) as unknown as Status

test('keeps one moment a second, of the last minutes only', () => {
  const history = new LiveHistory()
  for (let second = 1; second <= historyPoints + 20; second++) {
    history.add(at(second, second))
    history.add(at(second + 0.5, second))
  }
  expect(history.spanSeconds).toBe(historyPoints)
  expect(history.values('searchable')).toEqual(Array.from({ length: historyPoints }, (_, index) => index + 21))
  expect(history.values('accepted')).toEqual(new Array(historyPoints).fill(0))
})

test('is empty before anything is heard', () => {
  expect(new LiveHistory().spanSeconds).toBe(0)
})
