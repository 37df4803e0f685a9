import type { GenerationStep } from '../../../schemas/http-generations.ts'
import type { Generation } from '../../../schemas/ids.ts'
import { type ControlState, type GenerationStatus, lackingForQueries } from '../../control/control-state.ts'
import type { GenerationLook } from './generation-look.ts'

/** What decisions are made on besides the control state. */
export interface DeskFacts {
  readonly nowMs: number
  readonly rules: DeskRules
  /** Of the generations that are not retired. */
  readonly looks: ReadonlyMap<Generation, GenerationLook>
  /** Generations that had all queries, each once, the last one last. */
  readonly wereActive: readonly Generation[]
}

export interface DeskRules {
  /** An undo to a generation whose index is older is refused, ms. */
  readonly undoMaxAgeMs: number
  /** A generation is kept so long after it lost its last query, ms. */
  readonly warmMs: number
}

/** What has to be there before a step. */
export interface Lack {
  /** A noun with its reason. */
  readonly text: string
  /** It may be done without, where the operator says so: with `force`, for `route` with `override`. */
  readonly mayForce: boolean
}

/** What a step on a generation lacks now; empty: it may be taken. */
export function lacksOf(
  step: GenerationStep,
  state: ControlState,
  { status, facts }: { readonly status: GenerationStatus; readonly facts: DeskFacts },
): readonly Lack[] {
  const { generation } = status.started
  if (status.state === 'retired') return [must(`a generation that is not retired, as ${generation} is`)]
  switch (step) {
    case 'pause':
      return isBuilt(status, 'running') ? withQueries(state) : [must('a rebuild that runs')]
    case 'resume':
      return isBuilt(status, 'paused') ? withQueries(state) : [must('a rebuild that is paused')]
    case 'verify':
      return [...lacksCounterpart(state, generation, facts), ...lacksCatalog(status, facts), ...withQueries(state)]
    case 'canary':
      return [
        ...(status.certificate === null && status.routedAtMs === null ? [must('a certificate')] : []),
        ...lacksCounterpart(state, generation, facts),
      ]
    case 'route':
      return lacksForQueries(state, generation, facts)
    case 'rollback':
      return lacksForRollback(state, generation, facts)
    case 'retire':
      return lacksForRetirement(state, status, facts)
  }
}

/** All queries once, and not retired: the one that has them, or else the one with the most. Null: there are no queries yet. */
export function activeOf({ generations, main }: ControlState): Generation | null {
  const serving = [...generations].filter(([, { share }]) => share > 0).toSorted(([, a], [, b]) => b.share - a.share)
  if (main !== null && serving.some(([generation]) => generation === main)) return main
  return serving[0]?.[0] ?? null
}

/** The generation that another is compared with, or whose queries it gets back, where the operator names none. */
export function counterpartOf(state: ControlState, generation: Generation, facts: DeskFacts): Generation | null {
  const active = activeOf(state)
  if (active !== null && active !== generation) return active
  const before = facts.wereActive.findLast(
    each => each !== generation && state.generations.get(each)?.state !== 'retired',
  )
  return before ?? null
}

export function lacksForQueries(state: ControlState, generation: Generation, facts: DeskFacts): readonly Lack[] {
  const unready = facts.looks.get(generation)?.unready ?? []
  return [
    ...lackingForQueries(state, generation).map(may),
    ...(unready.length > 0
      ? [may(`a ready replica of ${unready.length > 1 ? 'shards' : 'shard'} ${unready.join(', ')}`)]
      : []),
  ]
}

/** What a generation lacks for getting all queries at once, because it had them before. */
export function lacksForUndo(state: ControlState, to: Generation, { looks, rules }: DeskFacts): readonly Lack[] {
  const status = state.generations.get(to)
  if (!status || status.state === 'retired') return [must(`generation ${to}, which is unknown or retired`)]
  if (status.routedAtMs === null) return [must(`a generation that had queries before, which ${to} never had: route it`)]
  const ageMs = looks.get(to)?.indexAgeMs ?? null
  const { undoMaxAgeMs } = rules
  if (ageMs === null) return [may(`a replica of each shard of ${to} that answers`)]
  if (ageMs <= undoMaxAgeMs) return []
  return [may(`an index of ${to} that is at most ${undoMaxAgeMs} ms old: it is ${Math.round(ageMs)} ms old`)]
}

/** When the warm time of a generation ends; null: it has queries, or never had any. */
export function retirableAtMs({ share, routedAtMs, state }: GenerationStatus, { warmMs }: DeskRules): number | null {
  return share > 0 || routedAtMs === null || state === 'retired' ? null : routedAtMs + warmMs
}

const must = (text: string): Lack => ({ text, mayForce: false })
const may = (text: string): Lack => ({ text, mayForce: true })

/** Of one that never had queries: the rebuild of others is over, whatever is said of it. */
function isBuilt({ rebuild, routedAtMs }: GenerationStatus, phase: 'running' | 'paused'): boolean {
  return routedAtMs === null && rebuild.phase === phase
}

/** How a rebuild goes is said together with all shares, which have to be there. */
function withQueries(state: ControlState): readonly Lack[] {
  return activeOf(state) === null ? [must('a generation that has the queries')] : []
}

function lacksCounterpart(state: ControlState, generation: Generation, facts: DeskFacts): readonly Lack[] {
  return counterpartOf(state, generation, facts) === null ? [must('another generation to compare it with')] : []
}

function lacksCatalog({ started, rebuild }: GenerationStatus, { looks }: DeskFacts): readonly Lack[] {
  if (rebuild.phase === 'caught-up') return []
  const look = looks.get(started.generation)
  if (look === undefined) return [must('a replica that answers')]
  const { done, total, behind } = look.progress
  if (behind.length === 0) return []
  return [must(`the rest of the catalog (${done} of ${total} offsets are passed: ${behind.join(', ')})`)]
}

function lacksForRollback(state: ControlState, generation: Generation, facts: DeskFacts): readonly Lack[] {
  if ((state.generations.get(generation)?.share ?? 0) === 0) return [must('a share of the queries to take back')]
  const to = counterpartOf(state, generation, facts)
  return to === null ? [must('a generation that was active before')] : lacksForUndo(state, to, facts)
}

function lacksForRetirement(state: ControlState, status: GenerationStatus, facts: DeskFacts): readonly Lack[] {
  const { generation } = status.started
  const copies = [...state.generations.values()].filter(
    each => each.started.from === generation && each.state === 'building',
  )
  const leftMs = (retirableAtMs(status, facts.rules) ?? 0) - facts.nowMs
  return [
    ...(status.share > 0 ? [must(`another generation for its ${percent(status.share)} of the queries`)] : []),
    ...copies.map(({ started }) => must(`the end of the copy of its objects into ${started.generation}`)),
    ...(leftMs > 0 ? [may(`the end of its warm time in ${hours(leftMs)}`)] : []),
  ]
}

export const percent = (share: number): string => `${Number((share * 100).toFixed(2))}%`

function hours(ms: number): string {
  const minutes = Math.ceil(ms / 60_000)
  return minutes < 120 ? `${minutes} min` : `${(minutes / 60).toFixed(1)} h`
}
