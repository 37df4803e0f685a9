import { existsSync } from 'node:fs'
import { join } from 'node:path'
import type { Meter } from '@opentelemetry/api'
import type { Logger } from 'pino'
import type { Acceptance } from '../schemas/accept-mutation.ts'
import type { GenerationStarted } from '../schemas/control.ts'
import { FreshetError } from '../schemas/errors.ts'
import { asPartition, asShardId, type Generation, type ReplicaId } from '../schemas/ids.ts'
import type { ImageModel } from '../schemas/image-analysis.ts'
import { shardOf } from '../schemas/partition.ts'
import type { IndexTuning } from '../shard-node/segments/index-tuning.ts'
import { ShardNode } from '../shard-node/shard-node.ts'
import type { SearchableItem } from '../shard-node/shard-node-options.ts'
import type { GenerationStatus } from '../topologies/control/control-state.ts'
import { defaultDispatchSettings } from '../topologies/dispatch/dispatch-state.ts'
import { DispatchRunner, type DispatchRunnerOptions } from '../topologies/dispatch/runner.ts'
import { WorkerLoop } from '../workers/worker-loop.ts'
import type { Config } from './config.ts'
import type { ImageRole } from './image-roles.ts'
import type { LocalStores, LogPorts, WorkPorts } from './storage.ts'

/** Jobs in hand get this long to finish when a process drains; Ctrl-C shall end within five seconds. */
export const workDrainMs = 2_000

export interface DispatchPartOptions extends Pick<DispatchRunnerOptions, 'onFailure'> {
  readonly config: Config
  readonly ports: LogPorts & WorkPorts & LocalStores
  readonly clock: () => number
  readonly partitions: 'all' | 'group'
}

/** Of the store that a dispatcher keeps its item table in. */
export const dispatchTableName = (generation: Generation): string => `items-${generation}`

/** The dispatcher of a generation, as configured; not started. */
export function newDispatch(options: DispatchPartOptions, status: GenerationStatus): DispatchRunner {
  const { config, ports, clock, partitions, onFailure } = options
  const { generation, backfillUntil, from: copiedFrom } = status.started
  const { windowRecords, windowBytes, overdueMs, tombstoneRetentionMs, acceptMissedRemovals } = config.dispatch
  const { log, queue, features, codecs } = ports
  return new DispatchRunner(
    { log, queue, features, codecs, table: ports.keyValueStore(dispatchTableName(generation)), clock },
    {
      settings: {
        ...defaultDispatchSettings,
        generation,
        acceptance: acceptanceOf(ports, status),
        partitionCount: ports.partitions,
        priority: status.share > 0 ? 'live' : 'standby',
        backfillUntil,
        bounds: { ...defaultDispatchSettings.bounds, unreadRecords: windowRecords, unreadBytes: windowBytes },
        overdueMs,
        tombstoneRetentionMs,
        acceptMissedRemovals,
        copiedFrom,
      },
      partitions,
      onFailure,
    },
  )
}

export interface WorkerPartOptions {
  readonly config: Config
  readonly ports: LogPorts & WorkPorts
  readonly images: ImageRole
  /** undefined while this process does not hold the generation's model */
  readonly modelOf: (generation: Generation) => ImageModel | undefined
  readonly isRetired: (generation: Generation) => boolean
  readonly log: Logger
  readonly clock: () => number
  readonly meter: Meter
}

/** The worker loop, as configured; not started. */
export function newWorkers(options: WorkerPartOptions): WorkerLoop {
  const { config, ports, images, modelOf, isRetired, log, clock, meter } = options
  const { queue, features, codecs } = ports
  const { claim, leaseMs, failAfterMs, supersedeForMs, maxAttempts } = config.workers
  return new WorkerLoop(
    {
      queue,
      log: ports.log,
      features,
      images: images.source,
      blobs: images.blobs,
      cache: images.cache,
      codecs,
      modelOf,
      isRetired,
    },
    { clock, random: Math.random, log, concurrency: claim, leaseMs, failAfterMs, supersedeForMs, maxAttempts, meter },
  )
}

export interface ShardPartOptions {
  readonly config: Config
  readonly ports: LogPorts
  /** Of the process. */
  readonly dataDir: string
  readonly clock: () => number
  readonly number: number
  /** Tells the replicas of a shard apart: a, b, … */
  readonly replica: string
  readonly onFailure: (error: FreshetError) => void
  readonly onAlarm: (error: FreshetError) => void
  readonly onSearchable?: (items: readonly SearchableItem[]) => void
  readonly meter: Meter
}

/** Opens a replica of a shard, as configured. @throws FreshetError see `ShardNode.open` */
export function openShard(options: ShardPartOptions, status: GenerationStatus): Promise<ShardNode> {
  const { config, ports, dataDir, clock, number, replica, onFailure, onAlarm, onSearchable, meter } = options
  const { generation, shards } = status.started
  const partitions = Array.from({ length: ports.partitions }, (_, i) => asPartition(i))
  return ShardNode.open({
    directory: shardDirectory(dataDir, generation, number),
    ...seedOf(config, shardName(generation, number)),
    log: ports.log,
    codec: ports.codecs.mutations,
    generation,
    acceptance: acceptanceOf(ports, status),
    shard: asShardId(number),
    replica: `${shardName(generation, number)}-${replica}` as ReplicaId,
    partitions: partitions.filter(partition => shardOf(partition, shards) === number),
    clock,
    onFailure,
    onAlarm,
    meter,
    ...(onSearchable === undefined ? {} : { onSearchable }),
    tuning: {
      checkpointEveryMs: config.checkpointEveryMs,
      tombstoneRetentionMs: config.dispatch.tombstoneRetentionMs,
      index: { threads: config.index.searchThreads, kind: config.index.segments, ...indexParameters(status) },
    },
  })
}

export function shardDirectory(dataDir: string, generation: string, shard: number): string {
  return join(dataDir, 'shards', shardName(generation, shard))
}

export function shardName(generation: string, shard: number): string {
  return `${generation}-${shard}`
}

/** @throws FreshetError `config-invalid` for parameters that this release does not know */
export function indexParameters({
  started: { index },
}: {
  readonly started: Pick<GenerationStarted, 'index'>
}): Partial<IndexTuning> {
  if (index === '') return {}
  try {
    const { segments, ...unknown } = JSON.parse(index) as { readonly segments?: unknown }
    const isKnown = Object.keys(unknown).length === 0 && (segments === undefined || isKind(segments))
    if (isKnown) return segments === undefined ? {} : { kind: segments }
  } catch {
    // Said below.
  }
  const wanted = 'known is {"segments": "standard" | "compressed"}'
  throw new FreshetError('config-invalid', `index parameters ${index}: ${wanted}`)
}

function isKind(segments: unknown): segments is IndexTuning['kind'] {
  return segments === 'standard' || segments === 'compressed'
}

function acceptanceOf({ topicEpoch }: LogPorts, { started }: GenerationStatus): Acceptance {
  // Of the catalog it was built from, also when there is another one of that name now; older records do not tell it.
  return { fingerprint: started.fingerprint, dims: started.dims, topicEpoch: started.topicEpoch ?? topicEpoch }
}

/** The first snapshot that has the shard. */
function seedOf({ index }: Config, name: string): { readonly seedDirectory?: string } {
  const seedDirectory = index.seeds.map(seed => join(seed, name)).find(existsSync)
  return seedDirectory === undefined ? {} : { seedDirectory }
}
