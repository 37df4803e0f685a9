import { type Hardware, hardware } from '../../bench/report.ts'
import { renderTable } from '../../cli/table.ts'
import type { FaultResult } from './fault-matrix.ts'

export interface FaultReport {
  readonly hardware: Hardware
  readonly seed: number
  readonly minutes: number
  readonly tookMs: number
  readonly results: readonly FaultResult[]
}

export function reportOf(given: Omit<FaultReport, 'hardware'>): FaultReport {
  return { hardware: hardware(), ...given }
}

/** The table, and below it what was broken. */
export function renderFaults({ results, seed, minutes, tookMs, hardware: machine }: FaultReport): string {
  const broken = results.filter(({ hasHeld }) => !hasHeld)
  const table = renderTable(
    results,
    [
      { name: 'fault', of: ({ fault }) => fault },
      { name: 'acknowledged', of: ({ acknowledged }) => String(acknowledged), align: 'right' },
      { name: 'not', of: ({ refused }) => String(sum(Object.values(refused))), align: 'right' },
      { name: 'searches', of: ({ searches }) => String(searches.answered), align: 'right' },
      { name: 'failed', of: ({ searches }) => String(searches.failed), align: 'right' },
      { name: 'recovery', of: ({ recoveryMs }) => seconds(recoveryMs), align: 'right' },
      { name: 'verdict', of: ({ hasHeld }) => (hasHeld ? 'held' : 'BROKEN') },
      { name: 'what was done', of: ({ done, problems }) => done ?? problems[0]?.split('\n')[0] ?? '' },
    ],
    Number.POSITIVE_INFINITY,
  )
  const reasons = broken.flatMap(({ fault, problems }) => ['', `${fault}:`, ...problems.map(each => `  ${each}`)])
  const held = results.length - broken.length
  return [
    `${machine.cpu}, ${machine.cores} cores, ${machine.system}, Node ${machine.node}; seed ${seed}, ${minutes} min of random kills`,
    '',
    ...table,
    ...reasons,
    '',
    `${held} of ${results.length} held, in ${Math.round(tookMs / 1000)} s`,
  ].join('\n')
}

const seconds = (ms: number | null): string => (ms === null ? '' : `${(ms / 1000).toFixed(1)} s`)
const sum = (values: readonly number[]): number => values.reduce((total, value) => total + value, 0)
