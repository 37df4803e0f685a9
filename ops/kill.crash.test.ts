import { expect, test } from 'vitest'
import { killRun } from './testing/kill-run.ts'

/** The short form of `npm run test:kill`. */
test('kill -9 of the server and its model processes loses nothing and brings nothing back', async () => {
  const report = await killRun({ events: 3_000, serverKills: 4, childKills: 4, seed: 7, onNote: () => {} })
  expect(report.problems).toEqual([])
  expect(report.acknowledged).toBe(3_000)
  expect(report.interrupted, 'no kill found a line on its way').toBeGreaterThan(0)
  expect(report.serverKills + report.childKills).toBe(8)
})
