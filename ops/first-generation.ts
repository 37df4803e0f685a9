import { FreshetError } from '../schemas/errors.ts'
import { asOffset, asPartition } from '../schemas/ids.ts'
import type { ImageModel } from '../schemas/image-analysis.ts'
import { catalogTopic } from '../schemas/topics.ts'
import { ControlLog } from '../topologies/control/control-log.ts'
import type { GenerationStatus } from '../topologies/control/control-state.ts'
import { ensureFirstGeneration } from '../topologies/control/first-generation.ts'
import type { Config } from './config.ts'
import type { LogPorts } from './storage.ts'
import { firstGeneration } from './topic-set-up.ts'

/** What a generation is told apart by. */
export type ModelIdentity = Pick<ImageModel, 'model' | 'fingerprint' | 'dims'>

export interface FirstGenerationOptions {
  readonly config: Config
  readonly ports: LogPorts
  readonly model: ModelIdentity
  readonly by: string
  readonly clock: () => number
}

/** Each attempt fails only because a rival's record was accepted, and there are three to be written. */
const attempts = 8

/**
 * Makes the first generation where none ever had a query; its model is asked for only then. Afterwards the control
 * log alone says what runs.
 * @throws FreshetError as `startFirstGeneration`; what `model` throws
 */
export async function ensureGeneration({
  model,
  ...options
}: Omit<FirstGenerationOptions, 'model'> & { readonly model: () => Promise<ModelIdentity> }): Promise<void> {
  const { log, codecs } = options.ports
  const { generations } = await new ControlLog({ log, codec: codecs.control }).refresh()
  if ([...generations.values()].some(({ share }) => share > 0)) return
  await startFirstGeneration({ ...options, model: await model() })
}

/**
 * The first generation, made unless it is there. Of several processes that do it at once, each record counts once and
 * all get the same answer.
 * @throws FreshetError `fingerprint-mismatch` when it was made with another model; `topic-epoch` when it was made from a
 * catalog that has been created again; codes of the log
 */
export async function startFirstGeneration(options: FirstGenerationOptions): Promise<GenerationStatus> {
  const { config, ports, model: identity, by, clock } = options
  const control = new ControlLog({ log: ports.log, codec: ports.codecs.control })
  const ends = await ports.log.offsets(catalogTopic)
  const { model, fingerprint, dims } = identity
  const first = {
    generation: firstGeneration,
    model,
    fingerprint,
    dims,
    manifest: JSON.stringify({ model, fingerprint, dims }),
    shards: config.shards,
    backfillUntil: Array.from({ length: ports.partitions }, (_, i) => ends.get(asPartition(i))?.end ?? asOffset(0)),
    topicEpoch: ports.topicEpoch,
    by,
    nowMs: clock(),
  }
  for (let attempt = 1; ; attempt++) {
    try {
      return await ensureFirstGeneration(control, first)
    } catch (thrown) {
      const isRival = thrown instanceof FreshetError && thrown.code === 'control-conflict'
      if (!isRival || attempt === attempts) throw thrown
    }
  }
}
