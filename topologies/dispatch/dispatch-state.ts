import type { Acceptance } from '../../schemas/accept-mutation.ts'
import type { CatalogEvent } from '../../schemas/catalog-event.ts'
import type { DeadLetter } from '../../schemas/dead-letter.ts'
import type { EmbedJob, WorkPriority } from '../../schemas/embed-job.ts'
import type { ErrorCode } from '../../schemas/errors.ts'
import { asOffset, type Generation, type ItemId, type Offset, type Partition } from '../../schemas/ids.ts'
import type { Mutation, Watermark, WorkFailed } from '../../schemas/mutation.ts'
import type { TraceHeaders } from '../../schemas/trace-context.ts'
import type { LogRecord } from '../event-log.ts'
import type { ItemEntry } from './item-entry.ts'
import { type DispatchPace, newPaceState, type PaceState } from './pace.ts'
import { PartitionWindow } from './window.ts'

export interface DispatchSettings {
  readonly generation: Generation
  /** What the generation takes; its epoch is that of the catalog topic. */
  readonly acceptance: Acceptance
  /** Partitions of the catalog topic. */
  readonly partitionCount: number
  /** Per partition: work on events below is backfill. From the generation's start record. */
  readonly backfillUntil: readonly Offset[]
  /** Of work that is not backfill, until a pace says otherwise. */
  readonly priority: Exclude<WorkPriority, 'backfill'>
  readonly bounds: DispatchBounds
  /** Work whose result was not read back for so long is issued again. */
  readonly overdueMs: number
  /** How often a job runs again because its result was refused. */
  readonly refusalRetries: number
  /** Removals older than this, and below the watermark, leave the log. */
  readonly tombstoneRetentionMs: number
  /** Go on also where dispatchers were away for longer than that, and may have missed removals. */
  readonly acceptMissedRemovals: boolean
  /** The generation whose objects are copied before a partition is dispatched first; null: none are. */
  readonly copiedFrom: Generation | null
  /** A watermark is written at least so often. */
  readonly watermarkIntervalMs: number
  /** And at most so often, when there is progress. */
  readonly watermarkGapMs: number
}

/** Reading pauses at one of these and goes on when all are at half. Sums over the partitions of the instance. */
export interface DispatchBounds {
  /** Events whose attributes or removal were not read back yet. */
  readonly unreadRecords: number
  readonly unreadBytes: number
  /** Events that wait for image work. Attributes and deletes wait for images only here. */
  readonly imageRecords: number
  readonly imageBytes: number
}

export const defaultDispatchSettings = {
  priority: 'live',
  bounds: { unreadRecords: 2_000, unreadBytes: 16 << 20, imageRecords: 1_000_000, imageBytes: 512 << 20 },
  overdueMs: 60_000,
  refusalRetries: 3,
  tombstoneRetentionMs: 7 * 24 * 3_600_000,
  acceptMissedRemovals: false,
  copiedFrom: null,
  watermarkIntervalMs: 1_000,
  watermarkGapMs: 100,
} as const satisfies Partial<DispatchSettings>

/** A catalog record with what its bytes say. */
export interface CatalogRecord {
  readonly record: LogRecord
  readonly content:
    | { readonly kind: 'event'; readonly event: CatalogEvent }
    | { readonly kind: 'tombstone' }
    | { readonly kind: 'undecodable'; readonly code: ErrorCode; readonly message: string }
}

/** A record of the mutation log with what its bytes say; nulls and watermarks are ignored. */
export interface MutationRecord {
  readonly record: LogRecord
  readonly content:
    | { readonly kind: 'mutation'; readonly mutation: Mutation }
    | { readonly kind: 'ignored' }
    | { readonly kind: 'undecodable'; readonly code: ErrorCode; readonly message: string }
}

export interface AssignedPartition {
  readonly partition: Partition
  /** Next catalog offset to read. */
  readonly catalogFrom: Offset
  /** Where live events begin, which are read beside the backlog before them; null where there is none. */
  readonly tailFrom: Offset | null
  readonly mutationsFrom: MutationPosition
  readonly catalogEnd: Offset
  /** Other processes may have read the partition since this one's table was stored. */
  readonly isShared: boolean
  /** The reader stands at the start of the partition: the next record has to be the epoch marker. */
  readonly expectMarker: boolean
}

/** What happened, and when it is. A clock that goes back is ignored. */
export type DispatchInput = { readonly nowMs: number } /**
 * First what is lost, then what is gained; the rest stays as it is, `committed` says how far for the group. Before the first catalog record of a gained
 * partition, its mutation log has to be read to where it ended then: an earlier life may have appended a removal whose
 * event log compaction has taken away since.
 */ & (
  | {
      readonly type: 'assignment'
      readonly lost: readonly Partition[]
      readonly gained: readonly AssignedPartition[]
      readonly committed: ReadonlyMap<Partition, Offset>
    }
  /** `isTail`: of the reader that begins at the tails. The other one reaches a tail when all before it is delivered. */
  | { readonly type: 'catalog'; readonly records: readonly CatalogRecord[]; readonly isTail?: boolean }
  | { readonly type: 'mutations'; readonly records: readonly MutationRecord[] }
  /** At least as often as a watermark may be written. */
  | { readonly type: 'tick' }
  | { readonly type: 'ends'; readonly ends: ReadonlyMap<Partition, Offset> }
  /** Items of the table to look at, a slice at a time, for removals that may leave the log. */
  | { readonly type: 'sweep'; readonly itemIds: readonly ItemId[] }
  | { readonly type: 'redrive'; readonly job: EmbedJob }
  | { readonly type: 'pace'; readonly pace: DispatchPace }
  /** These letters are durable in the dead-letter topic. */
  | { readonly type: 'lettersWritten'; readonly letters: readonly LetterAppend[] }
)

export interface MutationAppend {
  readonly partition: Partition
  readonly key: string
  /** null collects the key. */
  readonly mutation: Mutation | null
  /** Of the event that it comes from. */
  readonly trace?: TraceHeaders
}

export interface JobAdd {
  readonly id: string
  readonly priority: WorkPriority
  readonly job: EmbedJob
}

export interface HintRaise {
  readonly itemId: ItemId
  readonly offset: Offset
}

/** A dead letter, and what follows once it is durable. Only then, because nobody reads dead letters back. */
export interface LetterAppend {
  readonly partition: Partition
  /** The catalog event that waits for it; null when none does. */
  readonly eventOffset: Offset | null
  readonly letter: DeadLetter
  readonly thenAppend: WorkFailed | null
}

export interface MutationPosition {
  /** Next mutation offset to read. */
  readonly next: Offset
  /** Of the record before it: how old the table is, by the clock of the log. */
  readonly appendTimeMs: number
  /** Highest event of which a mutation was read; -1 for none. */
  readonly highestVersion: Offset
}

/** What a step wants done. Order between the kinds does not matter: see the runner. */
export interface Effects {
  readonly appends: MutationAppend[]
  readonly jobs: JobAdd[]
  readonly hints: HintRaise[]
  readonly letters: LetterAppend[]
  /** Item table: last value per item; null drops it. */
  readonly table: Map<ItemId, ItemEntry | null>
  /** How far the mutation log is read, stored with the item table. */
  readonly positions: Map<Partition, MutationPosition>
  /** Next catalog offset to read after a restart. */
  readonly commits: Map<Partition, Offset>
  /** Of all partitions of the instance, but for their tails. */
  flow: 'pause' | 'resume' | null
  tailFlow: 'pause' | 'resume' | null
  /** The instance must not go on. */
  stop: { readonly code: ErrorCode; readonly message: string } | null
  /** Answer to a redrive. */
  redriven: RedriveOutcome | null
}

/** `superseded`: a newer image or a delete exists. `done`: the image is embedded by now. `foreign`: of another generation, epoch or partition. */
export type RedriveOutcome = 'queued' | 'superseded' | 'done' | 'foreign'

export interface PartitionState {
  readonly partition: Partition
  readonly window: PartitionWindow
  mutationPosition: Offset
  /** Highest event of which a mutation was read that is no copy: a dispatcher has read so far; -1 for none. */
  highestVersion: Offset
  end: Offset
  expectMarker: boolean
  readonly isShared: boolean
  /** Highest event read by an earlier owner that is not in the catalog any more; -1 for none. See `noteMissing`. */
  lastMissing: Offset
  committed: Offset
  lastWatermark: Watermark | null
  /** While records wait to be read: no later than the append time of the oldest of them, as far as known. */
  unreadSinceMs: number | null
}

/**
 * Owned by the step, which advances it in place: the same state and the same inputs give the same effects. Nobody
 * else may change it, and it is not usable as an earlier state afterwards.
 */
export interface DispatchState {
  readonly settings: DispatchSettings
  /** Item table with all earlier effects applied. */
  readonly lookup: (itemId: ItemId) => ItemEntry | undefined
  readonly partitions: Map<Partition, PartitionState>
  readonly pacing: PaceState
  nowMs: number
  /** Reading the catalog, and apart from it the tails, which a backlog must not hold up. */
  paused: boolean
  tailsPaused: boolean
  stopped: boolean
  /** `jobs` counts what was enqueued, also again; `copied` the items whose objects were copied before. */
  readonly counts: { deadLetters: number; refused: number; jobs: number; events: number; copied: number }
}

export function newDispatchState(
  settings: DispatchSettings,
  lookup: (itemId: ItemId) => ItemEntry | undefined,
): DispatchState {
  return {
    settings,
    lookup,
    partitions: new Map(),
    pacing: newPaceState(settings.priority),
    nowMs: 0,
    paused: false,
    tailsPaused: false,
    stopped: false,
    counts: { deadLetters: 0, refused: 0, jobs: 0, events: 0, copied: 0 },
  }
}

export function newEffects(): Effects {
  return {
    appends: [],
    jobs: [],
    hints: [],
    letters: [],
    table: new Map(),
    positions: new Map(),
    commits: new Map(),
    flow: null,
    tailFlow: null,
    stop: null,
    redriven: null,
  }
}

export function newPartitionState(assigned: AssignedPartition): PartitionState {
  return {
    partition: assigned.partition,
    window: new PartitionWindow(assigned.catalogFrom, assigned.tailFrom),
    mutationPosition: assigned.mutationsFrom.next,
    highestVersion: assigned.mutationsFrom.highestVersion,
    end: assigned.catalogEnd,
    expectMarker: assigned.expectMarker,
    isShared: assigned.isShared,
    lastMissing: asOffset(-1),
    committed: assigned.catalogFrom,
    lastWatermark: null,
    unreadSinceMs: null,
  }
}

/** One step on its way: the state, and the effects so far. */
export interface StepInProgress {
  readonly state: DispatchState
  readonly effects: Effects
}

export function entryOf({ state, effects }: StepInProgress, itemId: ItemId): ItemEntry | undefined {
  const written = effects.table.get(itemId)
  return written === undefined ? state.lookup(itemId) : (written ?? undefined)
}

export function priorityOf(
  { settings, pacing }: DispatchState,
  { partition, offset }: { readonly partition: Partition; readonly offset: Offset },
): WorkPriority {
  return offset < (settings.backfillUntil[partition] ?? asOffset(0)) ? 'backfill' : pacing.pace.priority
}
