import type { Meter } from '@opentelemetry/api'
import type { Logger } from 'pino'
import { observeGauges } from '../query-gateway/observed-gauges.ts'
import { replicaViews } from '../query-gateway/system-status.ts'
import type { FreshetError } from '../schemas/errors.ts'
import type { Generation, ImageDigest } from '../schemas/ids.ts'
import type { ShardNode } from '../shard-node/shard-node.ts'
import type { SearchableItem } from '../shard-node/shard-node-options.ts'
import type { GenerationStatus } from '../topologies/control/control-state.ts'
import type { DispatchRunner } from '../topologies/dispatch/runner.ts'
import type { WorkerLoop } from '../workers/worker-loop.ts'
import type { Alarms } from './alarms.ts'
import type { Config } from './config.ts'
import { FailureNote } from './failure-note.ts'
import { startFirstGeneration } from './first-generation.ts'
import type { ImageRole, ModelRole } from './image-roles.ts'
import { newDispatch, newWorkers, openShard, workDrainMs } from './pipeline-parts.ts'
import { dispatchAge, dispatchGauges } from './roles/dispatch-metrics.ts'
import { shardGauges } from './roles/shard-metrics.ts'
import { workerGauges } from './roles/work-metrics.ts'
import type { Storage } from './storage.ts'

/** Dispatcher, workers and shards of the one generation of this server. */
export interface GenerationRoles {
  readonly status: GenerationStatus
  readonly shards: readonly ShardNode[]
  readonly dispatch: DispatchRunner
  readonly workers: WorkerLoop
  /** Which of these images a live item, or one on its way, refers to. */
  referenced(digests: readonly ImageDigest[]): ReadonlySet<ImageDigest>
  /** Null while all goes well: why the roles can not go on. */
  failure(): FreshetError | null
  /** Drains: no more reading or claiming, jobs handed back, checkpoints written. */
  close(): Promise<void>
}

export interface GenerationRolesOptions {
  readonly config: Config
  readonly storage: Storage
  readonly model: ModelRole
  readonly images: ImageRole
  readonly alarms: Alarms
  readonly log: Logger
  readonly clock: () => number
  readonly meter: Meter
  readonly onSearchable: (items: readonly SearchableItem[]) => void
}

/** @throws FreshetError `fingerprint-mismatch` when the data directory was built with another model; storage codes */
export async function startGeneration(options: GenerationRolesOptions): Promise<GenerationRoles> {
  const { config, storage, model, images, alarms, log, clock, meter } = options
  const status = await startFirstGeneration({ config, ports: storage, model: model.model, by: 'serve', clock })
  const { generation } = status.started
  await storage.ensureMutationTopic(generation)
  const failures = new FailureNote(alarms)
  const shards = await openShards(options, status, failures)
  const dispatch = newDispatch(
    { config, ports: storage, clock, partitions: 'all', onFailure: failures.by('dispatch') },
    status,
  )
  await dispatch.start()
  const modelOf = (asked: Generation) => (asked === generation ? model.model : undefined)
  const workers = newWorkers({ config, ports: storage, images, modelOf, log, clock, meter })
  workers.start()
  observeGauges(meter, [...dispatchGauges, dispatchAge(clock)], () => [dispatch.status()])
  observeGauges(meter, workerGauges, () => workers.status())
  observeGauges(meter, shardGauges, async () => ({ nodes: shards, shards: await replicaViews(shards) }))
  return {
    status,
    shards,
    dispatch,
    workers,
    referenced: digests => referencedBy(shards, dispatch, digests),
    failure: () => failures.first,
    close: async () => {
      await workers.stop(workDrainMs)
      await dispatch.stop()
      await Promise.all(shards.map(shard => shard.close()))
    },
  }
}

async function openShards(
  options: GenerationRolesOptions,
  status: GenerationStatus,
  failures: FailureNote,
): Promise<readonly ShardNode[]> {
  const { config, storage, alarms, clock, meter, onSearchable } = options
  return Promise.all(
    Array.from({ length: status.started.shards }, (_, number) => {
      const part = `shard ${number}`
      const reporting = {
        onFailure: failures.by(part),
        onAlarm: (error: FreshetError) => alarms.raise(part, error),
        onSearchable,
        meter,
      }
      const { dataDir } = config
      return openShard({ config, ports: storage, dataDir, clock, number, replica: 'a', ...reporting }, status)
    }),
  )
}

/** While events are on their way everything counts as referenced: one of them may name any blob. */
function referencedBy(
  shards: readonly ShardNode[],
  dispatch: DispatchRunner,
  digests: readonly ImageDigest[],
): ReadonlySet<ImageDigest> {
  const { state, partitions } = dispatch.status()
  const isIdle =
    state === 'running' && partitions.every(({ lagRecords, pendingImages }) => lagRecords + pendingImages === 0)
  if (!isIdle) return new Set(digests)
  return new Set(shards.flatMap(shard => [...shard.referenced(digests)]))
}
