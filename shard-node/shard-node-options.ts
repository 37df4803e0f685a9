import type { Meter } from '@opentelemetry/api'
import type { Acceptance } from '../schemas/accept-mutation.ts'
import type { FreshetError } from '../schemas/errors.ts'
import type { Generation, ImageDigest, ItemId, Partition, ReplicaId, ShardId } from '../schemas/ids.ts'
import type { Mutation } from '../schemas/mutation.ts'
import type { RecordCodec } from '../schemas/record-codec.ts'
import type { EventLog } from '../topologies/event-log.ts'
import type { OnDiskStep } from './files/disk-steps.ts'
import type { ItemStoreTuning } from './items/disk-item-store.ts'
import { defaultRecallSettings, type RecallSettings } from './recall/recall-controller.ts'
import type { IndexTuning } from './segments/index-tuning.ts'

/** What one replica of one shard of one generation needs to run. */
export interface ShardNodeOptions {
  /** Holds the checkpoint; owned by this replica alone, created when missing. */
  readonly directory: string
  readonly log: EventLog
  readonly codec: RecordCodec<Mutation>
  readonly generation: Generation
  readonly acceptance: Acceptance
  readonly shard: ShardId
  readonly replica: ReplicaId
  /** Partitions the shard owns. */
  readonly partitions: readonly Partition[]
  /** Wall clock, ms since 1970. */
  readonly clock: () => number
  /** Called once when the replica can no longer follow the log or search; it refuses from then on. */
  readonly onFailure: (error: FreshetError) => void
  /** What an operator must know though the replica goes on: a refused checkpoint, a refused record. */
  readonly onAlarm: (error: FreshetError) => void
  /** Items that a search finds from now on, or finds by a new set of objects; in the order they were applied. */
  readonly onSearchable?: (items: readonly SearchableItem[]) => void
  /** A snapshot of a sibling: where a replica starts whose own directory holds no checkpoint it can use. Only read. */
  readonly seedDirectory?: string
  /** See `OnDiskStep`. */
  readonly onDiskStep?: OnDiskStep
  readonly tuning?: Partial<ShardTuning>
  /** Where the replica's durations go; by default nowhere. */
  readonly meter?: Meter
}

/** An item that has just become searchable. */
export interface SearchableItem {
  readonly itemId: ItemId
  readonly title: string
  /** Bytes of its first image. */
  readonly digest: ImageDigest | null
  readonly atMs: number
}

export interface ShardTuning {
  /** A checkpoint is written this often when something changed; null: only when asked and on close. */
  readonly checkpointEveryMs: number | null
  /** `retention.tombstones`: an older checkpoint is refused, an older removal below the watermark is forgotten. */
  readonly tombstoneRetentionMs: number
  /** How the index is laid out and searched; what is left out is as in `tuningOf` its kind. */
  readonly index: Partial<IndexTuning>
  /** How items are kept on disk; what is left out is as the item store has it. */
  readonly items: Partial<ItemStoreTuning>
  /** How recall is measured and held; null: it is not. */
  readonly recall: RecallSettings | null
}

export const defaultShardTuning: ShardTuning = {
  checkpointEveryMs: 60_000,
  tombstoneRetentionMs: 7 * 24 * 3_600_000,
  index: {},
  items: {},
  recall: defaultRecallSettings,
}
