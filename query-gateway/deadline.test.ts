import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { QueryTime } from './deadline.ts'

beforeEach(() => {
  vi.useFakeTimers()
})

afterEach(() => {
  vi.useRealTimers()
})

test('ends when its time is over', () => {
  const time = new QueryTime(100, new AbortController().signal)
  vi.advanceTimersByTime(99)
  expect(time.signal.aborted).toBe(false)
  vi.advanceTimersByTime(1)
  expect(time.signal.reason).toMatchObject({ code: 'timeout' })
})

test('ends when the client goes, for the reason of the client', () => {
  const client = new AbortController()
  const time = new QueryTime(100, client.signal)
  const left = new Error('left')
  client.abort(left)
  expect(time.signal.reason).toBe(left)
  expect(new QueryTime(100, client.signal).signal.reason).toBe(left)
})

test('does not end any more once the query is answered', () => {
  const client = new AbortController()
  const time = new QueryTime(100, client.signal)
  time.end()
  client.abort()
  vi.advanceTimersByTime(200)
  expect(time.signal.aborted).toBe(false)
})

test('what others share has what is left of the time, and stays when the client goes', async () => {
  const client = new AbortController()
  const time = new QueryTime(100, client.signal)
  vi.advanceTimersByTime(60)
  const shared = new AbortController().signal
  const ends = time.limit(
    shared,
    signal => new Promise<unknown>(done => signal.addEventListener('abort', () => done(signal.reason))),
  )
  client.abort()
  vi.advanceTimersByTime(39)
  expect(await Promise.race([ends, 'still at it'])).toBe('still at it')
  vi.advanceTimersByTime(1)
  expect(await ends).toMatchObject({ code: 'timeout' })
})
