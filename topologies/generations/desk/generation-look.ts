import type { GenerationStarted } from '../../../schemas/control.ts'
import { asPartition, type Generation, type Partition, type ReplicaId, type ShardId } from '../../../schemas/ids.ts'
import type { ReplicaStatus } from '../../../schemas/shard-api.ts'

/** What a replica of a generation said of itself; null: it did not answer. */
export interface ReplicaLook {
  readonly generation: Generation
  readonly shard: ShardId
  readonly replica: ReplicaId
  readonly partitions: readonly Partition[]
  readonly status: ReplicaStatus | null
}

/** A generation as its replicas are now. */
export interface GenerationLook {
  readonly progress: RebuildProgress
  readonly items: { readonly searchable: number; readonly pending: number; readonly failed: number }
  /** Null when a shard has no replica that answers. */
  readonly indexAgeMs: number | null
  readonly replicas: { readonly ready: number; readonly total: number }
  /** Shards without a ready replica. */
  readonly unready: readonly number[]
  /** The freshest replica of each shard that answers. */
  readonly freshest: readonly ReplicaStatus[]
}

/** How much of what was in the catalog when a generation began its replicas have; the unit is the offset. */
export interface RebuildProgress {
  /** Passed by every replica that answers; of a partition that nobody answers for, none. */
  readonly done: number
  readonly total: number
  /** Why not every replica has passed all of it, in words, bounded; empty: it has. */
  readonly behind: readonly string[]
}

/** Reasons told; the rest is counted. */
const toldReasons = 5

export function lookAt(started: GenerationStarted, replicas: readonly ReplicaLook[]): GenerationLook {
  const own = replicas.filter(({ generation }) => generation === started.generation)
  const freshest = freshestPerShard(own)
  const shards = Array.from({ length: started.shards }, (_, shard) => shard)
  const unready = shards.filter(shard => !freshest.some(status => status.shard === shard && status.state === 'ready'))
  const isWhole = freshest.length === started.shards
  return {
    progress: progressOf(started, own),
    items: {
      searchable: sum(freshest, ({ items }) => items.searchable),
      pending: sum(freshest, ({ items }) => items.pending),
      failed: sum(freshest, ({ items }) => items.failed),
    },
    indexAgeMs: isWhole ? Math.max(0, ...freshest.map(({ indexAgeMs }) => indexAgeMs)) : null,
    replicas: { ready: own.filter(({ status }) => status?.state === 'ready').length, total: own.length },
    unready,
    freshest,
  }
}

function freshestPerShard(replicas: readonly ReplicaLook[]): readonly ReplicaStatus[] {
  const best = new Map<number, ReplicaStatus>()
  for (const { status } of replicas) {
    if (status === null) continue
    const held = best.get(status.shard)
    if (!held || standing(status) < standing(held)) best.set(status.shard, status)
  }
  return [...best.values()]
}

/** Lower is better: ready before others, then the fresher. */
function standing({ state, indexAgeMs }: ReplicaStatus): number {
  return state === 'ready' ? indexAgeMs : Number.MAX_SAFE_INTEGER
}

function progressOf(started: GenerationStarted, replicas: readonly ReplicaLook[]): RebuildProgress {
  const { backfillUntil, shards } = started
  const lacks = [
    ...Array.from({ length: shards }, (_, shard) => shard)
      .filter(shard => !replicas.some(each => each.shard === shard))
      .map(shard => `shard ${shard} has no replica yet`),
    ...replicas.flatMap(each => lackOf(each, started) ?? []),
  ]
  const done = backfillUntil.map((_, partition) => {
    const owners = replicas.filter(({ partitions, status }) => status !== null && owns(partitions, partition))
    return owners.length === 0 ? 0 : Math.min(...owners.map(({ status }) => passed(status!, started, partition)))
  })
  const told = lacks.slice(0, toldReasons)
  if (lacks.length > told.length) told.push(`${lacks.length - told.length} more`)
  return { done: sum(done, each => each), total: sum(backfillUntil, until => until), behind: told }
}

function lackOf({ replica, partitions, status }: ReplicaLook, started: GenerationStarted): string | null {
  if (status === null) return `replica ${replica} does not answer`
  const left = sum(partitions, partition => untilOf(started, partition) - passed(status, started, partition))
  const total = sum(partitions, partition => untilOf(started, partition))
  return left > 0 ? `replica ${replica} has ${left} of ${total} offsets still to pass` : null
}

/** Offsets of a partition below the bound that a replica's watermark, which is inclusive, has passed. */
function passed({ watermark }: ReplicaStatus, started: GenerationStarted, partition: number): number {
  return Math.min((watermark[partition] ?? -1) + 1, untilOf(started, partition))
}

function untilOf({ backfillUntil }: GenerationStarted, partition: number): number {
  return backfillUntil[partition] ?? 0
}

function owns(partitions: readonly Partition[], partition: number): boolean {
  return partitions.includes(asPartition(partition))
}

function sum<T>(values: readonly T[], of: (value: T) => number): number {
  return values.reduce((total, value) => total + of(value), 0)
}
