import { writeFileSync } from 'node:fs'
import { arch, availableParallelism, cpus, platform, release, totalmem } from 'node:os'

export type Goal = { readonly atLeast: number } | { readonly atMost: number }

export interface Measure {
  readonly name: string
  readonly value: number
  readonly unit: string
  readonly goal?: number
  readonly goalIs?: 'atLeast' | 'atMost'
  /** Computed from `value`, never set by hand. */
  readonly met?: boolean
  /** What was measured before, for comparison. */
  readonly reference?: number
}

export interface Hardware {
  readonly cpu: string
  readonly cores: number
  readonly memoryBytes: number
  readonly system: string
  readonly node: string
}

/** What every bench and the evaluation hand out. */
export interface Report {
  readonly bench: string
  readonly hardware: Hardware
  /** The data set and its size. */
  readonly data: string
  /** null where nothing is random. */
  readonly seed: number | null
  /** What the figures are compared with. */
  readonly baseline: string
  readonly measures: readonly Measure[]
}

/** A figure, judged against its goal when it has one. */
export function measure(name: string, value: number, unit: string, goal?: Goal): Measure {
  if (goal === undefined) return { name, value, unit }
  return 'atLeast' in goal
    ? { name, value, unit, goal: goal.atLeast, goalIs: 'atLeast', met: value >= goal.atLeast }
    : { name, value, unit, goal: goal.atMost, goalIs: 'atMost', met: value <= goal.atMost }
}

export function hardware(): Hardware {
  return {
    cpu: cpus()[0]?.model.trim() ?? arch(),
    cores: availableParallelism(),
    memoryBytes: totalmem(),
    system: `${platform()} ${release()} ${arch()}`,
    node: process.version,
  }
}

/** Prints the report as a table and, when asked, writes it as JSON. Returns false when a goal is missed. */
export function printReport(report: Report, jsonPath?: string): boolean {
  process.stdout.write(`${renderReport(report)}\n`)
  if (jsonPath !== undefined) writeFileSync(jsonPath, `${JSON.stringify(report, null, 2)}\n`)
  return report.measures.every(({ met }) => met !== false)
}

export function renderReport(report: Report): string {
  const { hardware: machine } = report
  const memory = `${(machine.memoryBytes / 2 ** 30).toFixed(0)} GiB`
  const head: readonly (readonly [string, string])[] = [
    ['bench', report.bench],
    ['hardware', `${machine.cpu}, ${machine.cores} cores, ${memory}, ${machine.system}, Node ${machine.node}`],
    ['data', report.data],
    ['seed', report.seed === null ? 'none: nothing is random' : String(report.seed)],
    ['baseline', report.baseline],
  ]
  const nameWidth = Math.max(...report.measures.map(({ name }) => name.length))
  const valueWidth = Math.max(...report.measures.map(each => figure(each).length))
  const rows = report.measures.map(each =>
    `  ${each.name.padEnd(nameWidth)}  ${figure(each).padStart(valueWidth)}  ${verdict(each)}`.trimEnd(),
  )
  return [...head.map(([name, value]) => `${`${name}:`.padEnd(10)} ${value}`), '', ...rows].join('\n')
}

function figure({ value, unit }: Measure): string {
  const digits = Number.isInteger(value) ? 0 : Math.abs(value) < 10 ? 3 : 1
  return `${value.toFixed(digits)} ${unit}`.trimEnd()
}

function verdict({ goal, goalIs, met, reference }: Measure): string {
  const judged =
    goal === undefined ? '' : `${met ? 'met   ' : 'MISSED'} goal ${goalIs === 'atLeast' ? '≥' : '≤'} ${goal}`
  return reference === undefined ? judged : `${judged}  reference ${Number(reference.toFixed(3))}`
}
