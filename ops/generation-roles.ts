import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Logger } from 'pino'
import type { FreshetError } from '../schemas/errors.ts'
import { asOffset, asPartition, asShardId, type Generation, type ImageDigest, type ReplicaId } from '../schemas/ids.ts'
import { shardOf } from '../schemas/partition.ts'
import { catalogTopic } from '../schemas/topics.ts'
import { ShardNode } from '../shard-node/shard-node.ts'
import type { SearchableItem } from '../shard-node/shard-node-options.ts'
import { ControlLog } from '../topologies/control/control-log.ts'
import type { GenerationStatus } from '../topologies/control/control-state.ts'
import { ensureFirstGeneration } from '../topologies/control/first-generation.ts'
import { defaultDispatchSettings } from '../topologies/dispatch/dispatch-state.ts'
import { DispatchRunner } from '../topologies/dispatch/runner.ts'
import { WorkerLoop } from '../workers/worker-loop.ts'
import type { Alarms } from './alarms.ts'
import type { Config } from './config.ts'
import type { ImageRole, ModelRole } from './image-roles.ts'
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

const firstGeneration = 'g1' as Generation
/** Jobs in hand get this long to finish; Ctrl-C shall end within five seconds. */
const drainMs = 2_000

export interface GenerationRolesOptions {
  readonly config: Config
  readonly storage: Storage
  readonly model: ModelRole
  readonly images: ImageRole
  readonly alarms: Alarms
  readonly log: Logger
  readonly clock: () => number
  readonly onSearchable: (items: readonly SearchableItem[]) => void
}

/** @throws FreshetError `fingerprint-mismatch` when the data directory was built with another model; storage codes */
export async function startGeneration(options: GenerationRolesOptions): Promise<GenerationRoles> {
  const status = await firstGenerationStatus(options)
  const { generation } = status.started
  await options.storage.ensureMutationTopic(generation)
  const parts = new FailureNote(options.alarms)
  const shards = await openShards(options, status, parts)
  const dispatch = newDispatch(options, status, parts)
  await dispatch.start()
  const workers = newWorkers(options, generation)
  workers.start()
  return {
    status,
    shards,
    dispatch,
    workers,
    referenced: digests => referencedBy(shards, dispatch, digests),
    failure: () => parts.first,
    close: async () => {
      await workers.stop(drainMs)
      await dispatch.stop()
      await Promise.all(shards.map(shard => shard.close()))
    },
  }
}

async function firstGenerationStatus(options: GenerationRolesOptions): Promise<GenerationStatus> {
  const { config, storage, model, clock } = options
  const control = new ControlLog({ log: storage.log, codec: storage.codecs.control })
  const ends = await storage.log.offsets(catalogTopic)
  const { model: name, fingerprint, dims } = model.model
  return ensureFirstGeneration(control, {
    generation: firstGeneration,
    model: name,
    fingerprint,
    dims,
    manifest: JSON.stringify({ model: name, fingerprint, dims }),
    shards: config.shards,
    backfillUntil: Array.from({ length: config.partitions }, (_, i) => ends.get(asPartition(i))?.end ?? asOffset(0)),
    by: 'serve',
    nowMs: clock(),
  })
}

/** Remembers the first failure that a role does not survive. */
class FailureNote {
  readonly #alarms: Alarms
  first: FreshetError | null = null

  constructor(alarms: Alarms) {
    this.#alarms = alarms
  }

  readonly by =
    (role: string) =>
    (error: FreshetError): void => {
      this.first ??= error
      this.#alarms.raise(role, error)
    }
}

function acceptanceOf({ storage }: GenerationRolesOptions, { started }: GenerationStatus) {
  return { fingerprint: started.fingerprint, dims: started.dims, topicEpoch: storage.topicEpoch }
}

async function openShards(
  options: GenerationRolesOptions,
  status: GenerationStatus,
  failures: FailureNote,
): Promise<readonly ShardNode[]> {
  const { config, storage, alarms, clock, onSearchable } = options
  const { generation, shards: count } = status.started
  const partitions = Array.from({ length: storage.partitions }, (_, i) => asPartition(i))
  return Promise.all(
    Array.from({ length: count }, (_, number) =>
      ShardNode.open({
        directory: shardDirectory(config.dataDir, generation, number),
        ...seedOf(config, shardName(generation, number)),
        log: storage.log,
        codec: storage.codecs.mutations,
        generation,
        acceptance: acceptanceOf(options, status),
        shard: asShardId(number),
        replica: `${generation}-${number}-a` as ReplicaId,
        partitions: partitions.filter(partition => shardOf(partition, count) === number),
        clock,
        onFailure: failures.by(`shard ${number}`),
        onAlarm: error => alarms.raise(`shard ${number}`, error),
        onSearchable,
        tuning: {
          checkpointEveryMs: config.checkpointEveryMs,
          tombstoneRetentionMs: config.dispatch.tombstoneRetentionMs,
          index: { threads: config.index.searchThreads, kind: config.index.segments },
        },
      }),
    ),
  )
}

export function shardDirectory(dataDir: string, generation: string, shard: number): string {
  return join(dataDir, 'shards', shardName(generation, shard))
}

function shardName(generation: string, shard: number): string {
  return `${generation}-${shard}`
}

/** The first snapshot that has the shard. */
function seedOf({ index }: Config, name: string): { readonly seedDirectory?: string } {
  const seedDirectory = index.seeds.map(seed => join(seed, name)).find(existsSync)
  return seedDirectory === undefined ? {} : { seedDirectory }
}

function newDispatch(options: GenerationRolesOptions, status: GenerationStatus, failures: FailureNote): DispatchRunner {
  const { config, storage, clock } = options
  const { generation, backfillUntil } = status.started
  const { windowRecords, windowBytes, overdueMs, tombstoneRetentionMs } = config.dispatch
  const { log, queue, features, codecs } = storage
  return new DispatchRunner(
    { log, queue, features, codecs, table: storage.keyValueStore(`items-${generation}`), clock },
    {
      settings: {
        ...defaultDispatchSettings,
        generation,
        acceptance: acceptanceOf(options, status),
        partitionCount: storage.partitions,
        backfillUntil,
        bounds: { ...defaultDispatchSettings.bounds, unreadRecords: windowRecords, unreadBytes: windowBytes },
        overdueMs,
        tombstoneRetentionMs,
      },
      onFailure: failures.by('dispatch'),
    },
  )
}

function newWorkers(
  { config, storage, model, images, log, clock }: GenerationRolesOptions,
  generation: Generation,
): WorkerLoop {
  const { queue, features, codecs } = storage
  const { claim, failAfterMs, supersedeForMs, maxAttempts } = config.workers
  return new WorkerLoop(
    {
      queue,
      log: storage.log,
      features,
      images: images.source,
      blobs: images.blobs,
      cache: images.cache,
      codecs,
      modelOf: asked => (asked === generation ? model.model : undefined),
    },
    { clock, random: Math.random, log, concurrency: claim, failAfterMs, supersedeForMs, maxAttempts },
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
