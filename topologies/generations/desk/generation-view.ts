import { type GenerationStep, type GenerationView, generationSteps } from '../../../schemas/http-generations.ts'
import type { ControlState, GenerationStatus } from '../../control/control-state.ts'
import { type DeskFacts, lacksOf, retirableAtMs } from './generation-lacks.ts'
import type { GenerationLook } from './generation-look.ts'

export interface RebuildRate {
  readonly perSecond: number | null
  readonly etaMs: number | null
  readonly throttledBy: string | null
}

export interface ViewInput {
  readonly state: ControlState
  readonly facts: DeskFacts
  /** Of a generation that is being built, else null. */
  readonly rate: RebuildRate | null
}

/** A generation as operators see it. */
export function generationView(status: GenerationStatus, { state, facts, rate }: ViewInput): GenerationView {
  const { started, share, rebuild, certificate, canary, routedAtMs } = status
  const { generation, model, fingerprint, dims, shards, from, weights, index, by, atMs, reason } = started
  const look = facts.looks.get(generation) ?? nothingSeen
  return {
    id: generation,
    model,
    fingerprint,
    dims,
    shards,
    state: status.state,
    share,
    from,
    weights,
    index,
    startedAtMs: atMs,
    startedBy: by,
    startedReason: reason,
    rebuild: { ...rebuild, ...progressView(status, look), ...(rate ?? noRate) },
    items: look.items,
    indexAgeMs: look.indexAgeMs,
    replicas: look.replicas,
    certificate: certificate && evidenceView(certificate, certificate.against),
    canary: canary && evidenceView(canary, null),
    routedAtMs,
    retirableAtMs: retirableAtMs(status, facts.rules),
    steps: generationSteps.map(step => stepView(step, status, { state, facts })),
  }
}

const noRate: RebuildRate = { perSecond: null, etaMs: null, throttledBy: null }
const nothingSeen: GenerationLook = {
  progress: { done: 0, total: 0, behind: [] },
  items: { searchable: 0, pending: 0, failed: 0 },
  indexAgeMs: null,
  replicas: { ready: 0, total: 0 },
  unready: [],
  freshest: [],
}

/** What has caught up once stays so, also while its replicas are away. */
function progressView({ rebuild }: GenerationStatus, { progress: { done, total } }: GenerationLook) {
  return { done: rebuild.phase === 'caught-up' ? total : done, total }
}

function stepView(
  step: GenerationStep,
  status: GenerationStatus,
  { state, facts }: Omit<ViewInput, 'rate'>,
): GenerationView['steps'][number] {
  const lacks = lacksOf(step, state, { status, facts })
  const mayForce = lacks.length > 0 && lacks.every(lack => lack.mayForce)
  return { step, allowed: lacks.length === 0, missing: lacks.map(({ text }) => text), mayForce }
}

interface Recorded {
  readonly atMs: number
  readonly by: string
  readonly evidence: string
  readonly digest: string
}

function evidenceView({ atMs, by, evidence, digest }: Recorded, against: string | null) {
  const { summary, reference } = parsed(evidence)
  return { atMs, by, digest, against: against ?? reference, summary }
}

/** Records of older releases hold evidence of other shapes. */
function parsed(evidence: string): { readonly summary: string; readonly reference: string | null } {
  try {
    const { summary, reference } = JSON.parse(evidence) as { readonly summary?: unknown; readonly reference?: unknown }
    return {
      summary: typeof summary === 'string' ? summary : '',
      reference: typeof reference === 'string' ? reference : null,
    }
  } catch {
    return { summary: '', reference: null }
  }
}
