import fc from 'fast-check'
import { expect, test } from 'vitest'
import {
  defaultPaceBounds,
  initialPace,
  type LiveLoad,
  learnSteady,
  nextPace,
  type RebuildPace,
} from './rebuild-pace.ts'

const calm: LiveLoad = { indexAgeMs: 100, searchMs: 4, imagesPerSecond: 50 }
const steady: RebuildPace = { ...initialPace, steadySearchMs: 4 }

test('nothing slows a rebuild down while live events and searches are as they were', () => {
  expect(nextPace(steady, calm)).toEqual(steady)
})

test.each([
  ['index-age', { ...calm, indexAgeMs: 5_000 }],
  ['search-latency', { ...calm, searchMs: 7 }],
] as const)('%s slows it down, again and again, to a slowest pace', (throttledBy, load) => {
  const first = nextPace(steady, load)
  expect(first).toEqual({ ...steady, throttledBy, imagesPerSecond: 35 })
  let pace = first
  for (let second = 0; second < 50; second++) pace = nextPace(pace, { ...load, imagesPerSecond: pace.imagesPerSecond! })
  expect(pace.imagesPerSecond).toBe(defaultPaceBounds.minImagesPerSecond)
})

test('it speeds up when the trouble has passed, until nothing bounds it', () => {
  let pace: RebuildPace = { ...steady, throttledBy: 'index-age', imagesPerSecond: 2 }
  const paces: (number | null)[] = []
  for (let second = 0; second < 60; second++) {
    const doable = Math.min(50, pace.imagesPerSecond ?? 50)
    pace = nextPace(pace, { ...calm, imagesPerSecond: doable })
    paces.push(pace.imagesPerSecond)
  }
  expect(pace).toEqual(steady)
  expect(paces.indexOf(null)).toBeGreaterThan(10)
})

test('steady is what was measured without a rebuild; searches that nobody makes say nothing', () => {
  const learnt = learnSteady(learnSteady(initialPace, calm), { ...calm, searchMs: 14 })
  expect(learnt.steadySearchMs).toBeCloseTo(5)
  expect(learnSteady(learnt, { ...calm, searchMs: null })).toEqual(learnt)
  expect(nextPace(initialPace, { ...calm, searchMs: 1_000 }).throttledBy).toBeNull()
})

test('whatever comes, the pace stays at or above the slowest', () => {
  const load = fc.record({
    indexAgeMs: fc.nat(10_000),
    searchMs: fc.option(fc.nat(100)),
    imagesPerSecond: fc.nat(500),
  })
  fc.assert(
    fc.property(fc.array(load, { maxLength: 50 }), loads => {
      let pace = steady
      for (const one of loads) {
        pace = nextPace(pace, one)
        if (pace.imagesPerSecond !== null)
          expect(pace.imagesPerSecond).toBeGreaterThanOrEqual(defaultPaceBounds.minImagesPerSecond)
      }
    }),
  )
})
