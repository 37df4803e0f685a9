import type {
  CanaryPassed,
  ControlRecord,
  CutoverCertified,
  GenerationStarted,
  ModelRegistered,
  RoutingChanged,
} from '../../schemas/control.ts'
import type { ErrorCode } from '../../schemas/errors.ts'
import { asOffset, type Generation, type Offset } from '../../schemas/ids.ts'

/** `active` has a share of the queries, `building` has none, `retired` never will again. */
export type GenerationState = 'building' | 'active' | 'retired'

export interface GenerationStatus {
  readonly started: GenerationStarted
  readonly state: GenerationState
  /** Of the queries, 0 to 1. */
  readonly share: number
  /** The last of each; null before. */
  readonly canary: CanaryPassed | null
  readonly certificate: CutoverCertified | null
}

/** What the control records say, folded in order. */
export interface ControlState {
  /** Offset of the last accepted record; -1 for none. A decision names it. */
  readonly lastAccepted: Offset
  readonly models: ReadonlyMap<string, ModelRegistered>
  /** In order of their start. */
  readonly generations: ReadonlyMap<Generation, GenerationStatus>
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
    case 'GenerationStarted': {
      const status: GenerationStatus = { started: record, state: 'building', share: 0, canary: null, certificate: null }
      return { ...state, generations: new Map(generations).set(record.generation, status) }
    }
    case 'CanaryPassed':
      return { ...state, generations: changed(generations, record.generation, { canary: record }) }
    case 'CutoverCertified':
      return { ...state, generations: changed(generations, record.generation, { certificate: record }) }
    case 'RoutingChanged':
      return { ...state, generations: routed(generations, record) }
    case 'GenerationRetired':
      return { ...state, generations: changed(generations, record.generation, { state: 'retired' }) }
  }
}

/** Of a generation that exists: records that name another are refused. */
function changed(
  generations: ControlState['generations'],
  generation: Generation,
  change: Partial<GenerationStatus>,
): ReadonlyMap<Generation, GenerationStatus> {
  const status = generations.get(generation)
  return status ? new Map(generations).set(generation, { ...status, ...change }) : generations
}

function routed(
  generations: ControlState['generations'],
  { shares }: RoutingChanged,
): ReadonlyMap<Generation, GenerationStatus> {
  const next = new Map<Generation, GenerationStatus>()
  for (const [generation, status] of generations) {
    const share = shares[generation] ?? 0
    const state = status.state === 'retired' ? 'retired' : share > 0 ? 'active' : 'building'
    next.set(generation, { ...status, share, state })
  }
  return next
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
      return refuseUnknown(state, record.generation)
    case 'CutoverCertified':
      return refuseUnknown(state, record.generation) ?? refuseUnknown(state, record.against)
    case 'RoutingChanged':
      return refuseRouting(state, record)
    case 'GenerationRetired':
      return refuseRetirement(state, record.generation)
  }
}

const bad = (reason: string): Refusal => ({ code: 'bad-request', reason })

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
  return record.shards >= 1 ? null : bad('a generation has at least one shard')
}

function refuseRouting(state: ControlState, { shares }: RoutingChanged): Refusal | null {
  let sum = 0
  for (const [generation, share] of Object.entries(shares)) {
    const unknown = refuseUnknown(state, generation as Generation)
    if (unknown) return unknown
    if (!(share >= 0 && share <= 1)) return bad(`the share of ${generation} is not between 0 and 1`)
    sum += share
  }
  return Math.abs(sum - 1) < 1e-9 ? null : bad(`the shares add up to ${sum}`)
}

function refuseRetirement(state: ControlState, generation: Generation): Refusal | null {
  const unknown = refuseUnknown(state, generation)
  if (unknown) return unknown
  const share = state.generations.get(generation)?.share ?? 0
  return share > 0 ? bad(`generation ${generation} still has a share of the queries`) : null
}

function refuseUnknown({ generations }: ControlState, generation: Generation): Refusal | null {
  const status = generations.get(generation)
  return !status || status.state === 'retired' ? bad(`generation ${generation} is unknown or retired`) : null
}
