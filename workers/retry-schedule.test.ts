import { expect, test } from 'vitest'
import { type ErrorCode, FreshetError } from '../schemas/errors.ts'
import { type RetryDecision, RetrySchedule } from './retry-schedule.ts'

let now = 0

test('pauses double to a cap, with jitter', () => {
  for (const [random, share] of [
    [0, 0.5],
    [1, 1],
  ] as const) {
    const schedule = open(random)
    const pauses = Array.from({ length: 14 }, (_, i) => pauseOf(decide(schedule, 'image-host-busy', i + 1)))
    const expected = [500, 1_000, 2_000, 4_000, 8_000, 16_000, 32_000, 64_000, 128_000, 256_000, 512_000, 600_000]
    expect(pauses.slice(0, 12)).toEqual(expected.map(pause => pause * share))
  }
})

test('the host is not asked before the time it named', () => {
  const error = new FreshetError('image-host-busy', 'busy', { details: { retryAfterMs: 20_000 } })
  const decision = open(1).decide({ jobId: 'a', attempt: 1, priority: 'live', error })
  expect(pauseOf(decision)).toBe(20_500)
})

test.each<[ErrorCode, number]>([
  ['image-not-found', 1],
  ['image-corrupt', 1],
  ['decoder-crashed', 3],
  ['decoder-timeout', 3],
  ['image-timeout', 20],
])('%s is given up at attempt %i', (code, last) => {
  const schedule = open()
  for (let attempt = 1; attempt < last; attempt++) expect(decide(schedule, code, attempt).type).toBe('retry')
  expect(decide(schedule, code, last).type).toBe('give-up')
})

test('a job that fails for long is reported once and goes to the back', () => {
  const schedule = open()
  expect(decide(schedule, 'image-timeout', 1)).toMatchObject({ report: false, priority: 'live' })
  now += 30_000
  expect(decide(schedule, 'image-timeout', 2)).toMatchObject({ report: false, priority: 'live' })
  now += 1
  expect(decide(schedule, 'image-timeout', 3)).toMatchObject({ report: true, priority: 'backfill' })
  expect(decide(schedule, 'image-timeout', 4)).toMatchObject({ report: false, priority: 'backfill' })
  schedule.forget('job')
  expect(decide(schedule, 'image-timeout', 5)).toMatchObject({ report: false, priority: 'live' })
})

function open(random = 1): RetrySchedule {
  now = 0
  const limits = { maxAttempts: 20, maxDecoderAttempts: 3, failAfterMs: 30_000 }
  return new RetrySchedule({ ...limits, clock: () => now, random: () => random })
}

function decide(schedule: RetrySchedule, code: ErrorCode, attempt: number): RetryDecision {
  return schedule.decide({ jobId: 'job', attempt, priority: 'live', error: new FreshetError(code, 'failed') })
}

function pauseOf(decision: RetryDecision): number {
  return decision.type === 'retry' ? decision.delayMs : Number.NaN
}
