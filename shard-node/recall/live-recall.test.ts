import { expect, test } from 'vitest'
import { LiveRecall } from './live-recall.ts'
import { defaultRecallSettings } from './recall-controller.ts'

/** Keeps what it is told. */
class NotedIndex {
  readonly efforts: number[] = []
  compactions = 0

  setEffort(effort: number): void {
    this.efforts.push(effort)
  }

  async compact(): Promise<void> {
    this.compactions++
  }
}

test('samples of poor recall raise the effort of the index, and ask it for compaction at the bound', () => {
  const recall = new LiveRecall(defaultRecallSettings, { index: { effort: 100 }, clock: () => 0 })
  const index = new NotedIndex()
  recall.steer(index)
  expect(index.efforts).toEqual([100])
  for (let i = 0; i < 200; i++) recall.hooks.onAudit({ recall: 0.5, effort: recall.status().effort, cpuMs: 1 })
  expect(index.efforts.at(-1)).toBe(defaultRecallSettings.maxEffort)
  expect(index.efforts).toEqual([...index.efforts].sort((a, b) => a - b))
  expect(index.compactions).toBeGreaterThan(0)
  expect(recall.status()).toMatchObject({ measured: 0.5, samples: 200, cpuMs: 200 })
})

test('what is sampled costs no more than its share of the time that passed', () => {
  let nowMs = 0
  const recall = new LiveRecall({ ...defaultRecallSettings, cpuShare: 0.01 }, { index: {}, clock: () => nowMs })
  let cpuMs = 0
  for (; nowMs < 100_000; nowMs += 10) {
    if (!recall.hooks.shouldAudit()) continue
    cpuMs += 50
    recall.hooks.onAudit({ recall: 1, effort: recall.status().effort, cpuMs: 50 })
  }
  expect(cpuMs).toBeGreaterThan(500)
  expect(cpuMs).toBeLessThanOrEqual(1_050)
})
