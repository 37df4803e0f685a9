import { join } from 'node:path'
import { observeGauges } from '../../query-gateway/observed-gauges.ts'
import type { FreshetError } from '../../schemas/errors.ts'
import { Alarms } from '../alarms.ts'
import type { Config } from '../config.ts'
import { openDistributedLog, openDistributedWork } from '../distributed-storage.ts'
import { type ImageRole, openImages } from '../image-roles.ts'
import { listenOn } from '../listen.ts'
import { ModelPools } from '../model-pools.ts'
import { newWorkers, workDrainMs } from '../pipeline-parts.ts'
import type { LocalStores, LogPorts } from '../storage.ts'
import { ControlFollower } from './control-follower.ts'
import { Polled } from './polled.ts'
import { clock, type RoleContext } from './role.ts'
import { openFreeDirectory, openLocalStores, rolesDirectory } from './role-directory.ts'
import { createRoleServer } from './role-server.ts'
import { alarmGauges, processGauges, queueGauges, workerGauges } from './work-metrics.ts'

const depthEveryMs = 1_000

/** `freshet work`: takes jobs from the queue, runs the models in child processes, publishes what they find. */
export async function startWorkRole(context: RoleContext): Promise<string> {
  const { config, log, closers, telemetry } = context
  const directory = await openFreeDirectory(config.dataDir, 'work')
  closers.add(() => directory.close())
  const stores = await openLocalStores({ directory, clock, log, closers })
  const opening = { ...context, clientId: 'freshet-work' }
  const ports = { ...(await openDistributedLog(config, opening)), ...(await openDistributedWork(config, opening)) }
  const images = await openSharedImages(config, stores)
  closers.add(() => images.close())

  const alarms = new Alarms(log, clock)
  const onTrouble = (part: string) => (error: FreshetError) => alarms.raise(part, error)
  const { control, models } = await followModels(context, { ports, alarms })
  const depth = await Polled.start({
    ask: () => ports.queue.depth(),
    everyMs: depthEveryMs,
    onTrouble: onTrouble('queue'),
  })
  closers.add(() => depth.close())
  const workers = newWorkers({
    config,
    ports,
    images,
    modelOf: generation => models.modelOf(generation),
    isRetired: generation => control.state.generations.get(generation)?.state === 'retired',
    log,
    clock,
    meter: telemetry.meter,
  })
  workers.start()
  closers.add(() => workers.stop(workDrainMs))
  observeGauges(telemetry.meter, workerGauges, () => workers.status())
  observeGauges(telemetry.meter, queueGauges, () => depth.value)
  observeGauges(telemetry.meter, processGauges, () => models.processes())
  observeGauges(telemetry.meter, alarmGauges, () => alarms.list())

  const app = createRoleServer(
    {
      failure: () => null,
      whyNotReady: () =>
        depth.failure?.message ?? whyNoGeneration(control) ?? models.whyNotHeld() ?? models.whyNotRunning(),
      metrics: () => telemetry.metricsText(),
      meter: telemetry.meter,
    },
    log,
  )
  closers.add(() => app.close())
  return listenOn(app, config)
}

/** Where gateways and workers have pictures in common. */
export function sharedPictures({ blobsDir, dataDir }: Pick<Config, 'blobsDir' | 'dataDir'>): string {
  return blobsDir ?? join(rolesDirectory(dataDir), 'blobs')
}

export function openSharedImages(config: Config, stores: LocalStores): Promise<ImageRole> {
  const directory = sharedPictures(config)
  // No process knows what all generations refer to, so nothing is evicted.
  const isReferenced = async <Digest>(digests: readonly Digest[]) => new Set(digests)
  return openImages({ config, stores, blobs: { directory, isShared: true, isReferenced }, clock })
}

export interface FollowedModels {
  readonly control: ControlFollower
  readonly models: ModelPools
}

/**
 * The control log with the models of its generations, which are opened and closed as it says. Resolves when those that
 * can be had are held. @throws FreshetError why the control log cannot be followed
 */
export async function followModels(
  { config, log, closers }: RoleContext,
  { ports, alarms }: { readonly ports: Pick<LogPorts, 'log' | 'codecs'>; readonly alarms: Alarms },
): Promise<FollowedModels> {
  const models = new ModelPools({
    config,
    log,
    onAlarm: error => alarms.raise('models', error),
    clock: () => performance.now(),
  })
  closers.add(() => models.close())
  const control = await ControlFollower.start({
    ports,
    onState: state => models.adopt(state),
    onTrouble: error => alarms.raise('control', error),
  })
  closers.add(() => control.close())
  return { control, models }
}

function whyNoGeneration({ state }: ControlFollower): string | null {
  const isThere = [...state.generations.values()].some(each => each.state !== 'retired')
  return isThere ? null : 'no generation is known yet'
}
