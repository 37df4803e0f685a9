import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { News } from './news.ts'

beforeEach(() => void vi.useFakeTimers())
afterEach(() => void vi.useRealTimers())

/** Whether a wait has ended, told anew with each look. */
function watched(wait: Promise<void>): () => Promise<boolean> {
  let isOver = false
  void wait.then(() => {
    isOver = true
  })
  return async () => {
    await Promise.resolve()
    return isOver
  }
}

test('a wait ends when it is told, or when its time is over', async () => {
  const news = new News()
  const told = watched(news.wait(1_000))
  expect([await told(), news.isAwaited]).toEqual([false, true])
  news.tell()
  expect([await told(), news.isAwaited, vi.getTimerCount()]).toEqual([true, false, 0])
  const late = watched(news.wait(1_000))
  vi.advanceTimersByTime(999)
  expect(await late()).toBe(false)
  vi.advanceTimersByTime(1)
  expect([await late(), news.isAwaited]).toEqual([true, false])
})

test('what is told while nobody waits is not kept, and no time is no wait', async () => {
  const news = new News()
  news.tell()
  expect(await watched(news.wait(0))()).toBe(true)
  expect(await watched(news.wait(Number.MAX_SAFE_INTEGER))()).toBe(false)
  vi.advanceTimersByTime(60_000)
  expect(news.isAwaited).toBe(true)
  news.tell()
})
