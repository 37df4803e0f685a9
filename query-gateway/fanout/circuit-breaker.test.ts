import fc from 'fast-check'
import { expect, test } from 'vitest'
import { CircuitBreaker } from './circuit-breaker.ts'

const options = { failures: 5, window: 20, badRatio: 0.5, openMs: 1_000, maxOpenMs: 30_000 }
const breaker = (random = () => 0.5) => new CircuitBreaker(options, random)

test('failures in a row open it, a trial that is answered closes it', () => {
  const sick = breaker()
  for (let i = 0; i < 4; i++) sick.failed(0)
  expect(sick.admission(0)).toBe('closed')
  sick.failed(0)
  expect([0, 999, 1_000].map(at => sick.admission(at))).toEqual(['open', 'open', 'trial'])
  sick.beginTrial()
  expect(sick.admission(1_000)).toBe('open')
  sick.answered(1_010)
  expect(sick.admission(1_010)).toBe('closed')
})

test('an answer between failures keeps it closed, while they are few', () => {
  const flaky = breaker()
  for (let i = 0; i < 100; i++) {
    if (i % 4 === 0) flaky.failed(i)
    else flaky.answered(i)
    expect(flaky.admission(i)).toBe('closed')
  }
})

test('one that hangs fails nothing, but loses: it is opened', () => {
  const hanging = breaker()
  for (let i = 0; i < 19; i++) hanging.lost(0)
  expect(hanging.admission(0)).toBe('closed')
  hanging.lost(0)
  expect(hanging.admission(0)).toBe('open')
})

test('as many losses as its siblings have do not open it', () => {
  const healthy = breaker()
  for (let i = 0; i < 10_000; i++) {
    if (i % 20 === 0) healthy.lost(i)
    else healthy.answered(i)
    expect(healthy.admission(i)).toBe('closed')
  }
})

test('while trials end badly it is left out for twice as long, up to the longest time', () => {
  const dead = breaker()
  for (let i = 0; i < 5; i++) dead.failed(0)
  const pauses: number[] = []
  for (let now = 0; pauses.length < 8; ) {
    let at = now
    while (dead.admission(at) === 'open') at += 100
    pauses.push(at - now)
    dead.beginTrial()
    if (pauses.length % 2 === 0) dead.failed(at)
    else dead.lost(at)
    now = at
  }
  expect(pauses).toEqual([1_000, 2_000, 4_000, 8_000, 16_000, 30_000, 30_000, 30_000])
})

test('a trial that was given up says nothing: the next one may be made at once', () => {
  const sick = breaker()
  for (let i = 0; i < 5; i++) sick.failed(0)
  sick.beginTrial()
  sick.forget()
  expect(sick.admission(1_000)).toBe('trial')
})

test('its answer as a last resort closes it, a failure then leaves it as it was', () => {
  const alone = breaker()
  for (let i = 0; i < 5; i++) alone.failed(0)
  alone.failed(900)
  expect(alone.admission(1_000)).toBe('trial')
  alone.answered(1_000)
  expect(alone.admission(1_000)).toBe('closed')
})

test('whatever happens: one trial at a time, always a trial within the longest time, and closed after an answer', () => {
  const step = fc.record({
    what: fc.constantFrom('answered', 'failed', 'lost', 'forget', 'ask'),
    waitMs: fc.integer({ min: 0, max: 40_000 }),
  })
  fc.assert(
    fc.property(fc.array(step, { maxLength: 200 }), fc.double({ min: 0, max: 1, noNaN: true }), (steps, drawn) => {
      const any = breaker(() => drawn)
      let now = 0
      let isTrying = false
      for (const { what, waitMs } of steps) {
        now += waitMs
        const admission = any.admission(now)
        if (isTrying) expect(admission).not.toBe('trial')
        if (what === 'ask') {
          if (admission !== 'trial') continue
          any.beginTrial()
          isTrying = true
        } else {
          any[what](now)
          if (what !== 'forget' || isTrying) isTrying = false
          if (what === 'answered') expect(any.admission(now)).toBe('closed')
        }
        if (!isTrying) expect(any.admission(now + 1.2 * options.maxOpenMs)).not.toBe('open')
      }
    }),
  )
})
