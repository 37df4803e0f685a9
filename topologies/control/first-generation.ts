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
  const { generation, model, fingerprint, dims, manifest, shards, backfillUntil, topicEpoch, by, nowMs: atMs } = first
  let state = await control.refresh()
  const decidedOn = ({ lastAccepted }: ControlState) => ({
    decidedAfter: lastAccepted,
    by,
    atMs,
    reason: 'first start',
  })
  const started = state.generations.get(generation)
  if (started && started.started.fingerprint !== fingerprint)
    throw new FreshetError(
      'fingerprint-mismatch',
      `generation ${generation} was built with ${started.started.model}; a changed model needs a new generation`,
    )
  const startedOn = started?.started.topicEpoch ?? topicEpoch
  if (startedOn !== topicEpoch)
    throw new FreshetError(
      'topic-epoch',
      `generation ${generation} was built from the catalog of epoch ${startedOn}, the topic there is now has ${topicEpoch}: it was created again`,
    )
  if (!state.models.has(model))
    state = await control.append({ ...decidedOn(state), type: 'ModelRegistered', model, fingerprint, dims, manifest })
  if (!started)
    state = await control.append({
      ...decidedOn(state),
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
    })
  const isRouted = [...state.generations.values()].some(({ share }) => share > 0)
  if (!isRouted)
    state = await control.append({
      ...decidedOn(state),
      type: 'RoutingChanged',
      shares: { [generation]: 1 },
      override: '',
      rebuilds: {},
    })
  return state.generations.get(generation)!
}
