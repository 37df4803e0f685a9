import type { Bound } from './canary-bounds.ts'
import type { CanaryMeasure } from './canary-gate.ts'
import { type Measured, type MeasureName, measureNames } from './measure-names.ts'

export interface Evaluation {
  readonly passed: boolean
  readonly reasons: readonly string[]
  readonly measures: readonly CanaryMeasure[]
}

/** Holds measures against bounds. What has no bound is told all the same. */
export function evaluate(
  measured: Measured,
  bounds: readonly Bound[],
  { hasLabelledSet }: { readonly hasLabelledSet: boolean },
): Evaluation {
  const held = bounds.map(bound => hold(bound, measured, hasLabelledSet))
  const told = (Object.keys(measured) as MeasureName[]).flatMap(name => untold(name, measured, held))
  const reasons = held.flatMap(({ reason }) => reason ?? [])
  const order = Object.keys(measureNames)
  const measures = [...held.map(({ measure }) => measure), ...told]
  measures.sort((a, b) => order.indexOf(a.name) - order.indexOf(b.name))
  return { passed: reasons.length === 0, reasons, measures }
}

interface Held {
  readonly measure: CanaryMeasure
  readonly reason: string | null
}

function hold(bound: Bound, measured: Measured, hasLabelledSet: boolean): Held {
  const { measure: name, relativeTo } = bound
  const { candidate = null, reference = null } = measured[name] ?? {}
  const isRatio = relativeTo === 'times-reference'
  const value = isRatio ? ratioOf(candidate, reference) : candidate
  const row = (met: boolean | null): CanaryMeasure => ({
    name,
    of: isRatio ? 'ratio' : 'candidate',
    value,
    bound: inWords(bound, reference),
    met,
  })
  const limit = relativeTo === 'plus-reference' ? plus(bound, reference) : (bound.atLeast ?? bound.atMost!)
  if (isUnder(bound.unlessBelow, candidate)) return { measure: row(true), reason: null }
  if (value === null || limit === null) {
    if (!isRequired(bound, hasLabelledSet)) return { measure: row(null), reason: null }
    return { measure: row(false), reason: `${name}: not measured, and the bounds require it` }
  }
  const met = bound.atLeast === undefined ? value <= limit + rounding : value >= limit - rounding
  if (met) return { measure: row(true), reason: null }
  const what = isRatio ? `${text(value)} times the reference's ${text(reference!)}` : text(value)
  return { measure: row(false), reason: `${name} is ${what}, ${inWords(bound, reference)}: ${measureNames[name]}` }
}

/** Shares of a few dozen questions, added and taken off as they are. */
const rounding = 1e-9

function isUnder(limit: number | undefined, candidate: number | null): boolean {
  return limit !== undefined && candidate !== null && candidate <= limit
}

function isRequired({ required = 'yes' }: Bound, hasLabelledSet: boolean): boolean {
  return required === 'yes' || (required === 'when-configured' && hasLabelledSet)
}

/** Nothing of nothing is as much. */
function ratioOf(candidate: number | null, reference: number | null): number | null {
  if (candidate === null || reference === null) return null
  return candidate === reference ? 1 : candidate / reference
}

function plus({ atLeast, atMost }: Bound, reference: number | null): number | null {
  return reference === null ? null : reference + (atLeast ?? atMost!)
}

function inWords(bound: Bound, reference: number | null): string {
  const { atLeast, atMost, relativeTo, unlessBelow } = bound
  const direction = atLeast === undefined ? 'at most' : 'at least'
  const limit = atLeast ?? atMost!
  const unless = unlessBelow === undefined ? '' : `, or at most ${text(unlessBelow)}`
  if (relativeTo === 'times-reference') return `${direction} ${text(limit)} times the reference${unless}`
  if (relativeTo !== 'plus-reference') return `${direction} ${text(limit)}${unless}`
  const of = reference === null ? 'that of the reference' : `the reference's ${text(reference)}`
  const change = limit === 0 ? '' : ` ${limit < 0 ? 'less' : 'plus'} ${text(Math.abs(limit))}`
  return `${direction} ${of}${change}${unless}`
}

function text(value: number): string {
  return String(Number(value.toPrecision(4)))
}

/** Of a measure what no bound shows: the side of the reference, and both where there is no bound. */
function untold(name: MeasureName, measured: Measured, held: readonly Held[]): readonly CanaryMeasure[] {
  const { candidate, reference } = measured[name]!
  const unbound = { name, bound: null, met: null }
  const isShown = held.some(({ measure }) => measure.name === name && measure.of === 'candidate')
  return [
    ...(isShown ? [] : [{ ...unbound, of: 'candidate' as const, value: candidate }]),
    { ...unbound, of: 'reference' as const, value: reference },
  ]
}
