import { join } from 'node:path'
import { observeGauges } from '../../query-gateway/observed-gauges.ts'
import type { FreshetError } from '../../schemas/errors.ts'
import type { Generation } from '../../schemas/ids.ts'
import type { ImageModel } from '../../schemas/image-analysis.ts'
import { Alarms } from '../alarms.ts'
import type { Config } from '../config.ts'
import { openDistributedLog, openDistributedWork } from '../distributed-storage.ts'
import { type ImageRole, type ModelRole, openImages, openModel } from '../image-roles.ts'
import { listenOn } from '../listen.ts'
import { newWorkers, workDrainMs } from '../pipeline-parts.ts'
import type { LocalStores } from '../storage.ts'
import { ControlFollower } from './control-follower.ts'
import { Polled } from './polled.ts'
import { clock, type RoleContext } from './role.ts'
import { openFreeDirectory, openLocalStores, rolesDirectory } from './role-directory.ts'
import { createRoleServer } from './role-server.ts'
import { processGauges, queueGauges, workerGauges } from './work-metrics.ts'

const depthEveryMs = 1_000

/** `freshet work`: takes jobs from the queue, runs the models in child processes, publishes what they find. */
export async function startWorkRole(context: RoleContext): Promise<string> {
  const { config, log, closers, telemetry } = context
  const directory = await openFreeDirectory(config.dataDir, 'work')
  closers.add(() => directory.close())
  const stores = await openLocalStores({ directory, clock, log, closers })
  const opening = { ...context, clientId: 'freshet-work' }
  const ports = { ...(await openDistributedLog(config, opening)), ...(await openDistributedWork(config, opening)) }
  const model = await openModel(config, log)
  closers.add(() => model.close())
  const images = await openSharedImages(config, stores)
  closers.add(() => images.close())

  const alarms = new Alarms(log, clock)
  const onTrouble = (part: string) => (error: FreshetError) => alarms.raise(part, error)
  const control = await ControlFollower.start({ ports, onTrouble: onTrouble('control') })
  closers.add(() => control.close())
  const depth = await Polled.start({
    ask: () => ports.queue.depth(),
    everyMs: depthEveryMs,
    onTrouble: onTrouble('queue'),
  })
  closers.add(() => depth.close())
  const modelOf = (generation: Generation) => modelFor(control, generation, model.model)
  const workers = newWorkers({ config, ports, images, modelOf, log, clock, meter: telemetry.meter })
  workers.start()
  closers.add(() => workers.stop(workDrainMs))
  observeGauges(telemetry.meter, workerGauges, () => workers.status())
  observeGauges(telemetry.meter, queueGauges, () => depth.value)
  observeGauges(telemetry.meter, processGauges, () => model.processes())

  const app = createRoleServer(
    {
      failure: () => null,
      whyNotReady: () => depth.failure?.message ?? whyNoGeneration(control, model.model) ?? whyNoModel(model),
      metrics: () => telemetry.metricsText(),
      meter: telemetry.meter,
    },
    log,
  )
  closers.add(() => app.close())
  return listenOn(app, config)
}

/** Pictures in a directory that gateways and workers share. */
export function openSharedImages(config: Config, stores: LocalStores): Promise<ImageRole> {
  const directory = config.blobsDir ?? join(rolesDirectory(config.dataDir), 'blobs')
  // No process knows what all generations refer to, so nothing is evicted.
  const isReferenced = async <Digest>(digests: readonly Digest[]) => new Set(digests)
  return openImages({ config, stores, blobs: { directory, isShared: true, isReferenced }, clock })
}

/** The model of this process where the generation was made with it. */
export function modelFor(
  { state }: ControlFollower,
  generation: Generation,
  model: ImageModel,
): ImageModel | undefined {
  return state.generations.get(generation)?.started.fingerprint === model.fingerprint ? model : undefined
}

function whyNoGeneration({ state }: ControlFollower, { fingerprint, model }: ImageModel): string | null {
  const generations = [...state.generations.values()].filter(each => each.state !== 'retired')
  if (generations.length === 0) return 'no generation is known yet'
  const isOfOne = generations.some(({ started }) => started.fingerprint === fingerprint)
  return isOfOne ? null : `no generation was made with model ${model}, which is loaded here`
}

function whyNoModel(model: ModelRole): string | null {
  const processes = model.processes()
  const hasOne = processes.length === 0 || processes.some(({ state }) => state === 'running')
  return hasOne ? null : 'no model process is running'
}
