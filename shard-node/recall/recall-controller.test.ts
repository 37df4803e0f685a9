import fc from 'fast-check'
import { describe, expect, test } from 'vitest'
import { defaultRecallSettings, RecallController, type RecallSettings } from './recall-controller.ts'

const settings: RecallSettings = { cpuShare: 0.02, target: 0.99, minEffort: 20, maxEffort: 100 }

/** Queries every 10 ms, each audit answered at once; the recall of an effort as `recallOf` has it. */
function run(options: {
  readonly queries: number
  readonly costMs: (query: number) => number
  readonly recallOf: (effort: number) => number
  readonly effort?: number
}) {
  const controller = new RecallController(settings, { effort: options.effort ?? 40, nowMs: 0 })
  const compactions: number[] = []
  let spentMs = 0
  for (let query = 1; query <= options.queries; query++) {
    if (!controller.shouldAudit(query * 10)) continue
    const { effort } = controller.status()
    const cpuMs = options.costMs(query)
    spentMs += cpuMs
    const advice = controller.sampled({ recall: options.recallOf(effort), effort, cpuMs })
    if (advice?.type === 'compact') compactions.push(query)
  }
  return { ...controller.status(), spentMs, compactions }
}

test('exact answers never cost more than their share of CPU, whatever each costs', () => {
  fc.assert(
    fc.property(fc.infiniteStream(fc.double({ min: 0.1, max: 400, noNaN: true })), costs => {
      const drawn: number[] = []
      const costMs = (): number => {
        drawn.push(costs.next().value as number)
        return drawn.at(-1)!
      }
      const { spentMs } = run({ queries: 20_000, costMs, recallOf: () => 1 })
      // What was saved up at most, and the answer that took it below nothing.
      expect(spentMs).toBeLessThanOrEqual(20_000 * 10 * settings.cpuShare + Math.max(...drawn))
    }),
    { numRuns: 50 },
  )
})

test('a quiet hour is not followed by a burst', () => {
  const controller = new RecallController(settings, { effort: 40, nowMs: 0 })
  let audits = 0
  for (let query = 0; query < 10_000; query++) if (controller.shouldAudit(3_600_000)) audits++
  expect(audits).toBe((30_000 * settings.cpuShare) / 20)
})

describe('effort', () => {
  test('rises while recall is below the target, and no further', () => {
    const recallOf = (effort: number): number => (effort >= 60 ? 0.992 : 0.95)
    const { effort, compactions } = run({ queries: 200_000, costMs: () => 5, recallOf })
    expect(effort).toBeGreaterThanOrEqual(60)
    expect(effort).toBeLessThan(60 * 1.25)
    expect(compactions).toEqual([])
  })

  test('falls while recall has room to spare, and never below its bound', () => {
    const { effort } = run({ queries: 400_000, costMs: () => 2, recallOf: () => 1 })
    expect(effort).toBe(settings.minEffort)
  })

  test('at its bound asks for compaction instead', () => {
    const { effort, compactions } = run({ queries: 100_000, costMs: () => 2, recallOf: () => 0.9 })
    expect(effort).toBe(settings.maxEffort)
    expect(compactions.length).toBeGreaterThan(0)
  })

  test('is judged by queries that were answered with it', () => {
    const controller = new RecallController(settings, { effort: 40, nowMs: 0 })
    for (let i = 0; i < 100; i++) expect(controller.sampled({ recall: 0.5, effort: 30, cpuMs: 1 })).toBeNull()
    expect(controller.status()).toMatchObject({ effort: 40, measured: 0.5, samples: 100 })
  })
})

test('searches that were given up hold back what their exact answers were expected to cost', () => {
  const controller = new RecallController(settings, { effort: 40, nowMs: 0 })
  let audits = 0
  for (let query = 1; query <= 100_000; query++) if (controller.shouldAudit(query * 10)) audits++
  expect(audits).toBeLessThanOrEqual((100_000 * 10 * settings.cpuShare) / 20)
  expect(audits).toBeGreaterThan(990)
})

test('the defaults start within their bounds', () => {
  const { minEffort, maxEffort } = defaultRecallSettings
  const { effort } = new RecallController(defaultRecallSettings, { effort: 40, nowMs: 0 }).status()
  expect(effort).toBe(40)
  expect(minEffort).toBeLessThan(maxEffort)
})
