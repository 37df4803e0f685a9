import type {
  CanaryPassed,
  ControlRecord,
  CutoverCertified,
  GenerationStarted,
  ModelRegistered,
  RebuildSetting,
  RoutingChanged,
} from '../../schemas/control.ts'
import type { ErrorCode } from '../../schemas/errors.ts'
import { asOffset, type Generation, type Offset } from '../../schemas/ids.ts'

/**
 * `building`: it has not caught up with what was in the catalog when it began. `verifying`: it has, and no certificate
 * says that it holds the same. `canary`: certified, and never had queries. `serving`: a share of the queries.
 * `active`: the one that had all of them last. `standby`: it had queries, has none, and goes on. `retired`: ended.
 */
export type GenerationState = 'building' | 'verifying' | 'canary' | 'serving' | 'active' | 'standby' | 'retired'

export interface GenerationStatus {
  readonly started: GenerationStarted
  readonly state: GenerationState
  /** Of the queries, 0 to 1. */
  readonly share: number
  readonly rebuild: RebuildSetting
  /** The last of each; null before. */
  readonly canary: CanaryPassed | null
  readonly certificate: CutoverCertified | null
  /** When it was given the share it has, ms since 1970 by the clock of who decided; null while it never had one. */
  readonly routedAtMs: number | null
}

/** As it is when it begins. */
export function newGeneration(started: GenerationStarted): GenerationStatus {
  return {
    started,
    state: 'building',
    share: 0,
    rebuild: { phase: 'running', imagesPerSecond: started.imagesPerSecond },
    canary: null,
    certificate: null,
    routedAtMs: null,
  }
}

/** What the control records say, folded in order. */
export interface ControlState {
  /** Offset of the last accepted record; -1 for none. A decision names it. */
  readonly lastAccepted: Offset
  readonly models: ReadonlyMap<string, ModelRegistered>
  /** In order of their start. */
  readonly generations: ReadonlyMap<Generation, GenerationStatus>
  /** The one that had all queries last; null before. */
  readonly main: Generation | null
}

export interface ControlRejection {
  readonly offset: Offset
  readonly record: ControlRecord
  readonly code: ErrorCode
  readonly reason: string
}

export const initialControlState: ControlState = {
  lastAccepted: asOffset(-1),
  models: new Map(),
  generations: new Map(),
  main: null,
}

export interface ControlFold {
  readonly state: ControlState
  readonly rejection: ControlRejection | null
}

/** The state after a record, or the same state and why the record does not count. */
export function foldControl(state: ControlState, record: ControlRecord, offset: Offset): ControlFold {
  const refusal = refusalOf(state, record)
  if (refusal) return { state, rejection: { offset, record, ...refusal } }
  return { state: { ...accept(state, record), lastAccepted: offset }, rejection: null }
}

function accept(state: ControlState, record: ControlRecord): ControlState {
  const { models, generations } = state
  switch (record.type) {
    case 'ModelRegistered':
      return { ...state, models: new Map(models).set(record.model, record) }
    case 'GenerationStarted':
      return { ...state, generations: new Map(generations).set(record.generation, newGeneration(record)) }
    case 'CanaryPassed':
      return changed(state, record.generation, { canary: record })
    case 'CutoverCertified':
      return changed(state, record.generation, { certificate: record })
    case 'RoutingChanged':
      return routed(state, record)
    case 'GenerationRetired':
      return changed(state, record.generation, { state: 'retired' })
  }
}

/** Of a generation that exists: records that name another are refused. */
function changed(state: ControlState, generation: Generation, change: Partial<GenerationStatus>): ControlState {
  const status = state.generations.get(generation)
  if (!status) return state
  const next = { ...status, ...change }
  const generations = new Map(state.generations)
  return { ...state, generations: generations.set(generation, { ...next, state: stateOf(next, state.main) }) }
}

function routed(state: ControlState, { shares, rebuilds, atMs }: RoutingChanged): ControlState {
  const whole = Object.entries(shares).find(([, share]) => isWhole(share))
  const main = (whole?.[0] as Generation | undefined) ?? state.main
  const generations = new Map<Generation, GenerationStatus>()
  for (const [generation, status] of state.generations) {
    const share = toldOf(shares, generation) ?? 0
    const routedAtMs = share === status.share ? status.routedAtMs : atMs
    const next = { ...status, share, rebuild: toldOf(rebuilds, generation) ?? status.rebuild, routedAtMs }
    generations.set(generation, { ...next, state: stateOf(next, main) })
  }
  return { ...state, generations, main }
}

/** What a record tells of a generation, which may be called `constructor`. */
export function toldOf<T>(told: Readonly<Record<string, T>>, generation: string): T | undefined {
  return Object.hasOwn(told, generation) ? told[generation] : undefined
}

function stateOf(status: GenerationStatus, main: Generation | null): GenerationState {
  const { started, state, share, rebuild, certificate, routedAtMs } = status
  if (state === 'retired') return 'retired'
  if (share > 0) return started.generation === main ? 'active' : 'serving'
  if (routedAtMs !== null) return 'standby'
  if (certificate !== null) return 'canary'
  return rebuild.phase === 'caught-up' ? 'verifying' : 'building'
}

const shareTolerance = 1e-9

function isWhole(share: number): boolean {
  return share >= 1 - shareTolerance
}

interface Refusal {
  readonly code: ErrorCode
  readonly reason: string
}

function refusalOf(state: ControlState, record: ControlRecord): Refusal | null {
  if (record.decidedAfter !== state.lastAccepted)
    return {
      code: 'control-conflict',
      reason: `decided after ${record.decidedAfter}, the last accepted record is ${state.lastAccepted}`,
    }
  switch (record.type) {
    case 'ModelRegistered':
      return refuseModel(state, record)
    case 'GenerationStarted':
      return refuseStart(state, record)
    case 'CanaryPassed':
      return refuseCanary(state, record)
    case 'CutoverCertified':
      return refuseCertificate(state, record)
    case 'RoutingChanged':
      return refuseRouting(state, record) ?? refuseRebuilds(state, record)
    case 'GenerationRetired':
      return refuseRetirement(state, record.generation)
  }
}

const bad = (reason: string): Refusal => ({ code: 'bad-request', reason })
const missing = (reason: string): Refusal => ({ code: 'step-refused', reason })

/** A name stands for one fingerprint for ever: vectors carry the fingerprint, people say the name. */
function refuseModel({ models }: ControlState, record: ModelRegistered): Refusal | null {
  const known = models.get(record.model)
  if (!known || known.fingerprint === record.fingerprint) return null
  return bad(`model ${record.model} is registered with another fingerprint`)
}

function refuseStart({ models, generations }: ControlState, record: GenerationStarted): Refusal | null {
  if (generations.has(record.generation)) return bad(`the name ${record.generation} has been used`)
  const model = models.get(record.model)
  if (!model) return bad(`model ${record.model} is not registered`)
  if (model.fingerprint !== record.fingerprint || model.dims !== record.dims)
    return bad(`fingerprint or dimension are not those of model ${record.model}`)
  if (record.shards < 1) return bad('a generation has at least one shard')
  return record.from === null ? null : refuseCopy(generations, record, record.from)
}

/** Objects are copied as they are: vectors of another model would be of no use. */
function refuseCopy(
  generations: ControlState['generations'],
  record: GenerationStarted,
  from: Generation,
): Refusal | null {
  const source = generations.get(from)
  if (!source || source.state === 'retired') return bad(`generation ${from} is unknown or retired`)
  if (source.started.fingerprint === record.fingerprint) return null
  return bad(`the objects of ${from} are those of model ${source.started.model}, not ${record.model}`)
}

function refuseCertificate(state: ControlState, { generation, against }: CutoverCertified): Refusal | null {
  const unknown = refuseUnknown(state, generation) ?? refuseUnknown(state, against)
  if (unknown) return unknown
  if (generation === against) return bad(`generation ${generation} cannot be compared with itself`)
  if (state.generations.get(generation)?.state !== 'building') return null
  return missing(`generation ${generation} is still building: it has to catch up with the catalog first`)
}

function refuseCanary(state: ControlState, { generation }: CanaryPassed): Refusal | null {
  const unknown = refuseUnknown(state, generation)
  if (unknown) return unknown
  const { certificate, routedAtMs } = state.generations.get(generation)!
  if (certificate !== null || routedAtMs !== null) return null
  return missing(`generation ${generation} has no certificate yet: verify it first`)
}

function refuseRouting(state: ControlState, { shares, override }: RoutingChanged): Refusal | null {
  let sum = 0
  for (const [generation, share] of Object.entries(shares)) {
    const unknown = refuseUnknown(state, generation as Generation)
    if (unknown) return unknown
    if (!(share >= 0 && share <= 1)) return bad(`the share of ${generation} is not between 0 and 1`)
    const lacking = override === '' && share > 0 ? lackingForQueries(state, generation as Generation) : []
    if (lacking.length > 0) return missing(`generation ${generation} lacks ${lacking.join(' and ')}`)
    sum += share
  }
  return Math.abs(sum - 1) < shareTolerance ? null : bad(`the shares add up to ${sum}`)
}

/**
 * What a generation needs before it gets its first query: nothing where there is nothing to compare it with. One that
 * had queries may have them again.
 */
export function lackingForQueries({ generations, main }: ControlState, generation: Generation): readonly string[] {
  const status = generations.get(generation)
  if (main === null || !status || status.routedAtMs !== null) return []
  const { certificate, canary } = status
  return [...(certificate === null ? ['a certificate'] : []), ...(canary === null ? ['a passed canary'] : [])]
}

function refuseRebuilds(state: ControlState, { rebuilds }: RoutingChanged): Refusal | null {
  for (const [generation, setting] of Object.entries(rebuilds)) {
    const unknown = refuseUnknown(state, generation as Generation)
    if (unknown) return unknown
    if (!(setting.imagesPerSecond >= 0)) return bad(`the rate of ${generation} is not 0 or more`)
    if (!['running', 'paused', 'caught-up'].includes(setting.phase)) return bad(`${setting.phase} is no phase`)
    const { phase } = state.generations.get(generation as Generation)!.rebuild
    if (phase === 'caught-up' && setting.phase !== 'caught-up')
      return missing(`generation ${generation} has caught up: there is nothing left to pause or resume`)
  }
  return null
}

function refuseRetirement(state: ControlState, generation: Generation): Refusal | null {
  const unknown = refuseUnknown(state, generation)
  if (unknown) return unknown
  const share = state.generations.get(generation)?.share ?? 0
  return share > 0 ? missing(`generation ${generation} still has a share of the queries`) : null
}

function refuseUnknown({ generations }: ControlState, generation: Generation): Refusal | null {
  const status = generations.get(generation)
  return !status || status.state === 'retired' ? bad(`generation ${generation} is unknown or retired`) : null
}
