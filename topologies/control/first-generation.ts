import type { ControlRecord } from '../../schemas/control.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { Fingerprint, Generation, Offset, TopicEpoch } from '../../schemas/ids.ts'
import type { ControlLog } from './control-log.ts'
import type { ControlState, GenerationStatus } from './control-state.ts'

export interface FirstGeneration {
  readonly generation: Generation
  readonly model: string
  readonly fingerprint: Fingerprint
  readonly dims: number
  /** The model's manifest as JSON. */
  readonly manifest: string
  readonly shards: number
  /** Catalog end offset per partition now; used only when the generation is started now. */
  readonly backfillUntil: readonly Offset[]
  /** Of the catalog now. */
  readonly topicEpoch: TopicEpoch
  readonly by: string
  readonly nowMs: number
}

/**
 * Registers the model, starts the generation and gives it all queries, each unless it was done before: a start that
 * was cut short goes on where it ended. Returns the generation as it was started.
 * @throws FreshetError `fingerprint-mismatch` when the generation was built with another model; `topic-epoch` when it
 * was built from a catalog that has been created again; see `ControlLog.append`
 */
export async function ensureFirstGeneration(control: ControlLog, first: FirstGeneration): Promise<GenerationStatus> {
  let state = await control.refresh()
  // Asked anew after each record: what a rival did meanwhile is in the state that comes back with it.
  for (let record = nextRecord(state, first); record !== null; record = nextRecord(state, first))
    state = await control.append(record)
  return state.generations.get(first.generation)!
}

/** Null: all is done. */
function nextRecord(state: ControlState, first: FirstGeneration): ControlRecord | null {
  const { generation, model, fingerprint, dims, manifest, shards, backfillUntil, topicEpoch, by, nowMs: atMs } = first
  const { models, generations } = state
  const decided = { decidedAfter: state.lastAccepted, by, atMs, reason: 'first start' }
  const status = generations.get(generation)
  if (status !== undefined) requireSame(status, first)
  if (!models.has(model)) return { ...decided, type: 'ModelRegistered', model, fingerprint, dims, manifest }
  if (status === undefined)
    return {
      ...decided,
      type: 'GenerationStarted',
      generation,
      model,
      fingerprint,
      dims,
      shards,
      backfillUntil,
      topicEpoch,
      from: null,
      weights: '',
      index: '',
      imagesPerSecond: 0,
    }
  if ([...generations.values()].some(({ share }) => share > 0)) return null
  return { ...decided, type: 'RoutingChanged', shares: { [generation]: 1 }, override: '', rebuilds: {} }
}

function requireSame({ started }: GenerationStatus, { generation, fingerprint, topicEpoch }: FirstGeneration): void {
  if (started.fingerprint !== fingerprint)
    throw new FreshetError(
      'fingerprint-mismatch',
      `generation ${generation} was built with ${started.model}; a changed model needs a new generation`,
    )
  // Null: begun before epochs were recorded.
  if (started.topicEpoch !== null && started.topicEpoch !== topicEpoch)
    throw new FreshetError(
      'topic-epoch',
      `generation ${generation} was built from the catalog of epoch ${started.topicEpoch}, the topic there is now has ${topicEpoch}: it was created again`,
    )
}
