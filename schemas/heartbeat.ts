import type { Generation, Offset, Partition, ReplicaId, ShardId } from './ids.ts'
import type { ReplicaState } from './shard-api.ts'

/**
 * What a replica says of itself once a second and at each change of state. Topic `freshet.heartbeats`, keyed by
 * replica. Gateways find replicas by it. A dispatcher speaks of itself in the same way: its name stands for the
 * replica, its partitions are those assigned to it, and it has no shard. Times are of the replica's own clock, which
 * may be wrong: only their differences mean something to others, who otherwise go by the append times of the log.
 */
export interface Heartbeat {
  readonly type: 'Heartbeat'
  readonly role: 'shard' | 'dispatch'
  readonly replica: ReplicaId
  readonly shard: ShardId
  readonly generation: Generation
  /** Origin of its HTTP server, such as `http://10.0.0.7:7490`. */
  readonly address: string
  /** Partitions the shard owns. */
  readonly partitions: readonly Partition[]
  /** The last one is `stopped`. */
  readonly state: ReplicaState
  /** Per partition: offset of the next mutation record to apply. */
  readonly applied: Readonly<Record<string, Offset>>
  /** Per partition: catalog offset up to which everything is applied. */
  readonly watermarks: Readonly<Record<string, Offset>>
  readonly indexAgeMs: number
  /** With the address, tells one life of the replica from the next. */
  readonly startedAtMs: number
  /** From 0, counting this life's heartbeats. */
  readonly sequence: number
  readonly writtenAtMs: number
}

/** How often a replica says that it is there. */
export const heartbeatEveryMs = 1_000
/** How long the topic keeps them. */
export const heartbeatRetentionMs = 3_600_000
