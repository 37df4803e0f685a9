import { expect, test } from 'vitest'
import type { FaultResult } from './fault-matrix.ts'
import { renderFaults, reportOf } from './fault-report.ts'

const held: FaultResult = {
  fault: 'broker-killed',
  plan: 'standard',
  done: 'the broker got SIGKILL',
  acknowledged: 1_234,
  refused: { 'log-unavailable': 2, 'not-ready': 3 },
  searches: { answered: 40, failed: 0 },
  recoveryMs: 2_345,
  tookMs: 30_000,
  compared: { liveItems: 10, deletedItems: 2, replicas: 2 },
  hasHeld: true,
  problems: [],
}
const broken: FaultResult = {
  ...held,
  fault: 'duplicates',
  done: null,
  hasHeld: false,
  problems: ['a is lost', 'so is b'],
}

test('a row for each fault; what was broken is told below', () => {
  const lines = renderFaults(reportOf({ seed: 9, minutes: 5, tookMs: 61_000, results: [held, broken] })).split('\n')
  expect(lines[0]).toContain('seed 9, 5 min of random kills')
  expect(lines[3]).toMatch(/^broker-killed +1234 +5 +40 +0 +2\.3 s +held +the broker got SIGKILL$/)
  expect(lines[4]).toMatch(/^duplicates .* BROKEN +a is lost$/)
  expect(lines.slice(6)).toEqual(['duplicates:', '  a is lost', '  so is b', '', '1 of 2 held, in 61 s'])
})
