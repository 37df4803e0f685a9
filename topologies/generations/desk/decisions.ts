import type {
  CanaryPassed,
  ControlRecord,
  CutoverCertified,
  GenerationStarted,
  ModelRegistered,
  RebuildSetting,
} from '../../../schemas/control.ts'
import type { ErrorCode } from '../../../schemas/errors.ts'
import type {
  BuildRequest,
  GenerationStep,
  RetireRequest,
  RollbackRequest,
  RouteRequest,
} from '../../../schemas/http-generations.ts'
import {
  asPartition,
  type Fingerprint,
  type Generation,
  type Offset,
  type Partition,
  type TopicEpoch,
} from '../../../schemas/ids.ts'
import type { ControlState, GenerationStatus } from '../../control/control-state.ts'
import {
  activeOf,
  counterpartOf,
  type DeskFacts,
  type Lack,
  lacksForQueries,
  lacksForUndo,
  lacksOf,
} from './generation-lacks.ts'

/** A record to append, decided on the state that was given, or why there is none. */
export type Decision<Decided extends ControlRecord = ControlRecord> =
  | { readonly record: Decided }
  | { readonly refused: Refusal }

export interface Refusal {
  readonly code: ErrorCode
  readonly message: string
  /** What has to be there first, in words. */
  readonly missing: readonly string[]
}

export interface Decider {
  readonly by: string
  readonly reason: string
}

/** What a step is decided on. */
export interface DecisionBase {
  readonly state: ControlState
  readonly facts: DeskFacts
  readonly who: Decider
}

/** A model as control records have it. */
export interface KnownModel {
  readonly model: string
  readonly fingerprint: Fingerprint
  readonly dims: number
  /** As JSON. */
  readonly manifest: string
}

/** Null: it is registered as it is. */
export function decideModel(base: DecisionBase, known: KnownModel): Decision<ModelRegistered> | null {
  const { model, fingerprint, dims, manifest } = known
  const held = base.state.models.get(model)
  if (held === undefined)
    return { record: { type: 'ModelRegistered', ...said(base), model, fingerprint, dims, manifest } }
  if (held.fingerprint === fingerprint) return null
  return refuse('bad-request', `model ${model} is registered with another fingerprint than the files of it here have`)
}

/** The catalog as it is when a generation begins. */
export interface CatalogNow {
  readonly partitions: number
  readonly ends: ReadonlyMap<Partition, { readonly end: Offset }>
  readonly topicEpoch: TopicEpoch
}

/** The model has to be registered. */
export function decideStart(
  base: DecisionBase,
  request: BuildRequest,
  catalog: CatalogNow,
): Decision<GenerationStarted> {
  const { state } = base
  const { from = null, weights = '', index = '', imagesPerSecond = 0 } = request
  const generation = (request.generation ?? nextName(state)) as Generation
  const source = from === null ? null : state.generations.get(from as Generation)
  const name = request.model ?? source?.started.model
  const model = name === undefined ? undefined : state.models.get(name)
  const active = activeOf(state)
  const shards = request.shards ?? (active === null ? 1 : state.generations.get(active)!.started.shards)
  const isUsed = state.generations.has(generation)
  if (isUsed) return refuse('bad-request', `generation: the name ${generation} has been used, and is never used again`)
  if (from !== null && (!source || source.state === 'retired'))
    return refuse('bad-request', `from: generation ${from} is unknown or retired`)
  if (source?.state === 'building')
    return refuseStep(`${generation}: copying needs`, ['a source that is not building itself'])
  if (name === undefined) return refuse('bad-request', 'model: name one, or a generation to copy from')
  if (model === undefined) return refuse('bad-request', `model: ${name} is not registered`)
  if (source && source.started.fingerprint !== model.fingerprint)
    return refuse('bad-request', `from: the objects of ${from} are those of ${source.started.model}, not of ${name}`)
  if (shards > catalog.partitions)
    return refuse('bad-request', `shards: there are ${catalog.partitions} partitions, and a shard has at least one`)
  if (!isJsonObject(index)) return refuse('bad-request', 'index: not a JSON object')
  const { fingerprint, dims } = model
  return {
    record: {
      type: 'GenerationStarted',
      ...said(base),
      generation,
      model: name,
      fingerprint,
      dims,
      shards,
      backfillUntil: Array.from(
        { length: catalog.partitions },
        (_, i) => catalog.ends.get(asPartition(i))?.end ?? (0 as Offset),
      ),
      topicEpoch: catalog.topicEpoch,
      from: from as Generation | null,
      weights,
      index,
      imagesPerSecond,
    },
  }
}

/** The next free `g<n>`. */
export function nextName({ generations }: ControlState): Generation {
  const numbers = Array.from(generations.keys(), name => Number(/^g(\d{1,9})$/.exec(name)?.[1] ?? 0))
  return `g${Math.max(0, ...numbers) + 1}` as Generation
}

export function decidePause(base: DecisionBase, generation: Generation): Decision {
  return decideStep('pause', base, generation, ({ rebuild }) =>
    rebuildChanged(base, generation, { ...rebuild, phase: 'paused' }),
  )
}

/** With a rate given, also of one that is not paused. */
export function decideResume(base: DecisionBase, generation: Generation, imagesPerSecond?: number): Decision {
  const status = base.state.generations.get(generation)
  const isRunning = status?.rebuild.phase === 'running'
  const step = isRunning && imagesPerSecond !== undefined ? 'pause' : 'resume'
  return decideStep(step, base, generation, ({ rebuild }) =>
    rebuildChanged(base, generation, {
      phase: 'running',
      imagesPerSecond: imagesPerSecond ?? rebuild.imagesPerSecond,
    }),
  )
}

/** That a generation has caught up, once it has. Null: it is recorded already, and nothing else is lacking. */
export function decideCaughtUp(base: DecisionBase, generation: Generation): Decision | null {
  const decision = decideStep('verify', base, generation, ({ rebuild }) =>
    rebuildChanged(base, generation, { ...rebuild, phase: 'caught-up' }),
  )
  const isKnown = base.state.generations.get(generation)?.rebuild.phase === 'caught-up'
  return 'record' in decision && isKnown ? null : decision
}

/** Evidence that speaks for a generation. */
export interface Proof {
  readonly against: Generation
  /** A JSON document. */
  readonly evidence: string
  readonly digest: string
}

export function decideCertificate(
  base: DecisionBase,
  generation: Generation,
  proof: Proof,
): Decision<CutoverCertified> {
  const gone = [generation, proof.against].find(each => isGone(base.state, each))
  if (gone !== undefined)
    return refuseStep('the certificate needs', [`generation ${gone}, which was retired meanwhile`])
  if (base.state.generations.get(generation)!.state === 'building')
    return refuseStep(`${generation}: the certificate needs`, ['that it has caught up, recorded before'])
  return decideStep('verify', base, generation, () => ({
    type: 'CutoverCertified',
    ...said(base),
    generation,
    ...proof,
  }))
}

export function decideCanary(base: DecisionBase, generation: Generation, proof: Proof): Decision<CanaryPassed> {
  const { evidence, digest } = proof
  return decideStep('canary', base, generation, () => ({
    type: 'CanaryPassed',
    ...said(base),
    generation,
    evidence,
    digest,
  }))
}

export function decideRoute(base: DecisionBase, generation: Generation, request: RouteRequest): Decision {
  const { state, facts } = base
  const { override = '' } = request
  const known = knownOr404(state, generation)
  if (known) return known
  const given = sharesOf(base, generation, request)
  if ('refused' in given) return given
  const { shares } = given
  for (const [name, share] of Object.entries(shares)) {
    const status = state.generations.get(name as Generation)
    if (!status || status.state === 'retired') return refuse('bad-request', `shares: ${name} is unknown or retired`)
    if (share <= status.share) continue
    const lacks = lacksForQueries(state, name as Generation, facts)
    const refusal = refusalFor(`${name}: queries need`, lacks, override !== '')
    if (refusal) return refusal
  }
  return { record: { type: 'RoutingChanged', ...said(base), shares, override, rebuilds: {} } }
}

/** All queries to the one that was active before, in one record. */
export function decideRollback(base: DecisionBase, generation: Generation, request: RollbackRequest): Decision {
  const { state, facts } = base
  const known = knownOr404(state, generation)
  if (known) return known
  const { force = false } = request
  const to = request.to === undefined ? counterpartOf(state, generation, facts) : (request.to as Generation)
  if (to === generation) return refuse('bad-request', 'to: name another generation than the one to undo')
  const hasQueries = state.generations.get(generation)!.share > 0
  const lacks =
    to === null || !hasQueries
      ? lacksOf('rollback', state, { status: state.generations.get(generation)!, facts })
      : lacksForUndo(state, to, facts)
  const refusal = refusalFor(`${generation}: rollback needs`, lacks, force)
  if (refusal) return refusal
  const override = forced(lacks)
  return { record: { type: 'RoutingChanged', ...said(base), shares: { [to!]: 1 }, override, rebuilds: {} } }
}

export function decideRetire(base: DecisionBase, generation: Generation, { force = false }: RetireRequest): Decision {
  return decideStep(
    'retire',
    base,
    generation,
    (_, lacks) => ({ type: 'GenerationRetired', ...said(base), generation, override: forced(lacks) }),
    force,
  )
}

/** What the desk says of a generation that there is not. */
export function unknownGeneration(state: ControlState, generation: Generation): Refusal {
  const known = [...state.generations.keys()].join(', ')
  return {
    code: 'not-found',
    message: `there is no generation ${generation}; there are ${known || 'none'}`,
    missing: [],
  }
}

function decideStep<Decided extends ControlRecord>(
  step: GenerationStep,
  { state, facts }: DecisionBase,
  generation: Generation,
  record: (status: GenerationStatus, lacks: readonly Lack[]) => Decided,
  force = false,
): Decision<Decided> {
  const status = state.generations.get(generation)
  if (status === undefined) return { refused: unknownGeneration(state, generation) }
  const lacks = lacksOf(step, state, { status, facts })
  return refusalFor(`${generation}: ${step} needs`, lacks, force) ?? { record: record(status, lacks) }
}

function knownOr404(state: ControlState, generation: Generation): { readonly refused: Refusal } | null {
  const status = state.generations.get(generation)
  if (status === undefined) return { refused: unknownGeneration(state, generation) }
  if (status.state !== 'retired') return null
  return refuseStep(`${generation}: queries need`, ['a generation that is not retired, as it is'])
}

type Shares = Readonly<Record<string, number>>

function sharesOf(
  { state, facts }: DecisionBase,
  generation: Generation,
  { share, shares }: RouteRequest,
): { readonly shares: Shares } | { readonly refused: Refusal } {
  if ((share === undefined) === (shares === undefined))
    return refuse('bad-request', 'share: give the share of this generation, or the shares of all')
  if (shares !== undefined) {
    const sum = Object.values(shares).reduce((total, each) => total + each, 0)
    if (Math.abs(sum - 1) > shareTolerance) return refuse('bad-request', `shares: they add up to ${sum}, not to 1`)
    return { shares: positive(shares) }
  }
  const rest = counterpartOf(state, generation, facts)
  const third = [...state.generations].find(([name, each]) => each.share > 0 && name !== generation && name !== rest)
  if (third) return refuse('bad-request', `share: ${third[0]} has queries too; give the shares of all`)
  if (share! >= 1) return { shares: { [generation]: 1 } }
  if (rest !== null) return { shares: positive({ [rest]: 1 - share!, [generation]: share! }) }
  return refuse('bad-request', 'share: there is no other generation for the rest of the queries')
}

const shareTolerance = 1e-9

function positive(shares: Shares): Shares {
  return Object.fromEntries(Object.entries(shares).filter(([, share]) => share > 0))
}

/** The shares as they are: such a record says all of them. */
function rebuildChanged(base: DecisionBase, generation: Generation, setting: RebuildSetting): ControlRecord {
  const shares = Array.from(base.state.generations, ([name, { share }]) => [name, share] as const)
  const rebuilds = { [generation]: setting }
  return {
    type: 'RoutingChanged',
    ...said(base),
    shares: positive(Object.fromEntries(shares)),
    override: '',
    rebuilds,
  }
}

function said({ state, facts, who }: DecisionBase) {
  return { decidedAfter: state.lastAccepted, by: who.by, atMs: facts.nowMs, reason: who.reason }
}

function isGone({ generations }: ControlState, generation: Generation): boolean {
  return (generations.get(generation)?.state ?? 'retired') === 'retired'
}

function forced(lacks: readonly Lack[]): string {
  return lacks.length === 0 ? '' : `forced without ${lacks.map(({ text }) => text).join(' and ')}`
}

function refusalFor(what: string, lacks: readonly Lack[], force: boolean): { readonly refused: Refusal } | null {
  const left = force ? lacks.filter(({ mayForce }) => !mayForce) : lacks
  return left.length === 0
    ? null
    : refuseStep(
        what,
        left.map(({ text }) => text),
      )
}

function refuseStep(what: string, missing: readonly string[]): { readonly refused: Refusal } {
  return { refused: { code: 'step-refused', message: `${what} ${missing.join(' and ')}`, missing } }
}

function refuse(code: ErrorCode, message: string): { readonly refused: Refusal } {
  return { refused: { code, message, missing: [] } }
}

function isJsonObject(text: string): boolean {
  if (text === '') return true
  try {
    const value: unknown = JSON.parse(text)
    return typeof value === 'object' && value !== null && !Array.isArray(value)
  } catch {
    return false
  }
}
