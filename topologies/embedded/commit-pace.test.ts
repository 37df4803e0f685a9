import { expect, test } from 'vitest'
import { CommitPace } from './commit-pace.ts'

let nowMs = 1_000
let idleMs = 400

/** As of a transaction that has just begun. */
function paced(): CommitPace {
  const pace = new CommitPace({ now: () => nowMs, idleMs: () => idleMs })
  pace.began()
  return pace
}

function pass(ms: number, idle: number): void {
  nowMs += ms
  idleMs += idle
}

test('the first transaction waits for nothing', () => {
  expect(new CommitPace({ now: () => nowMs, idleMs: () => idleMs }).waitMs(1)).toBe(0)
})

test('while the event loop is busy all the time, writes wait to share a transaction, but not for long', () => {
  const pace = paced()
  const waited: number[] = []
  for (let waitMs = pace.waitMs(1); waitMs > 0; waitMs = pace.waitMs(1)) {
    waited.push(waitMs)
    pass(waitMs, 0)
  }
  expect(waited.reduce((sum, ms) => sum + ms, 0)).toBe(50)
})

test('once the loop has a free moment nothing waits', () => {
  const pace = paced()
  pass(20, 1)
  expect(pace.waitMs(1)).toBeGreaterThan(0)
  pass(0, 2)
  expect(pace.waitMs(1)).toBe(0)
})

test('what was free before the last transaction does not count', () => {
  const pace = paced()
  pass(1_000, 900)
  pace.began()
  pass(10, 0)
  expect(pace.waitMs(1)).toBeGreaterThan(0)
})

test('many writes wait for no more', () => {
  const pace = paced()
  pass(1, 0)
  expect(pace.waitMs(63)).toBeGreaterThan(0)
  expect(pace.waitMs(64)).toBe(0)
})
