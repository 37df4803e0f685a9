import type { ItemId } from '../../schemas/ids.ts'
import { mutationKey, registerKey, type Watermark } from '../../schemas/mutation.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { entryOf, type PartitionState, type StepInProgress } from './dispatch-state.ts'
import { issueJob } from './image-job.ts'
import type { ItemEntry } from './item-entry.ts'
import type { Waiting } from './window.ts'

/** Events looked at per partition and tick, and issued again per tick: both bound a tick, neither what it reaches in time. */
const sliceEvents = 512
const reissuesPerTick = 64

/** Whatever was not read back in time is issued again: jobs a queue forgot, appends a broker lost. */
export function reissueOverdue(step: StepInProgress): void {
  let left = reissuesPerTick
  for (const partition of step.state.partitions.values())
    for (const waiting of partition.window.slice(sliceEvents)) {
      if (left === 0) return
      if (reissue(step, partition, waiting)) left--
    }
}

function reissue(step: StepInProgress, partition: PartitionState, waiting: Waiting): boolean {
  const { nowMs, settings } = step.state
  const { unread, image: wait } = waiting
  const isUnreadOverdue = unread !== null && nowMs - unread.appendedAtMs > settings.overdueMs
  if (isUnreadOverdue) {
    const { mutation } = unread
    step.effects.appends.push({ partition: partition.partition, key: mutationKey(mutation), mutation })
    unread.appendedAtMs = nowMs
  }
  if (!wait?.hasJob || nowMs - wait.enqueuedAtMs <= settings.overdueMs) return isUnreadOverdue
  const image = entryOf(step, waiting.itemId)?.image
  if (image?.version === waiting.offset) issueJob(step, partition, { waiting, image })
  return true
}

/** Commits and watermarks for what the step completed. */
export function reportProgress(step: StepInProgress): void {
  for (const partition of step.state.partitions.values()) {
    const { lowWater } = partition.window
    if (lowWater > partition.committed) {
      partition.committed = lowWater
      step.effects.commits.set(partition.partition, lowWater)
    }
    writeWatermark(step, partition)
  }
}

function writeWatermark({ state, effects }: StepInProgress, partition: PartitionState): void {
  const { settings, nowMs } = state
  const last = partition.lastWatermark
  const { watermark } = partition.window
  const oldestPendingTimeMs = oldestPendingOf(partition)
  if (last) {
    const progress =
      watermark !== last.offset || oldestPendingTimeMs !== last.oldestPendingTimeMs || partition.end !== last.endOffset
    const gapMs = progress ? settings.watermarkGapMs : settings.watermarkIntervalMs
    if (nowMs - last.writtenAtMs < gapMs) return
  }
  const next: Watermark = {
    type: 'Watermark',
    partition: partition.partition,
    offset: watermark,
    oldestPendingTimeMs,
    endOffset: partition.end,
    writtenAtMs: nowMs,
  }
  partition.lastWatermark = next
  effects.appends.push({ partition: partition.partition, key: mutationKey(next), mutation: next })
}

/** Of events in the window, else of those waiting to be read: an event that nobody has read yet is pending too. */
export function oldestPendingOf({ window, unreadSinceMs }: PartitionState): number | null {
  return window.oldestPendingTimeMs ?? unreadSinceMs
}

/** A removal that is complete and old leaves the log; the item's entry too, when nothing else is known of it. */
export function sweepRemovals(step: StepInProgress, itemIds: readonly ItemId[]): void {
  const { state, effects } = step
  for (const itemId of itemIds) {
    const entry = entryOf(step, itemId)
    const partition = state.partitions.get(partitionOf(itemId, state.settings.partitionCount))
    if (entry === undefined || partition === undefined || !isCollectable(step, partition, entry)) continue
    effects.appends.push({ partition: partition.partition, key: registerKey('x', itemId, entry.x), mutation: null })
    const forgotten = entry.image.state === 'removed' && entry.image.version <= entry.x && entry.a <= entry.x
    effects.table.set(itemId, forgotten && entry.refused < 0 ? null : { ...entry, removedAtMs: -1 })
  }
}

function isCollectable({ state }: StepInProgress, { window }: PartitionState, entry: ItemEntry): boolean {
  return (
    entry.removedAtMs >= 0 &&
    entry.x <= window.watermark &&
    state.nowMs - entry.removedAtMs > state.settings.tombstoneRetentionMs
  )
}

/** Bounds how far the unread-since time is from the truth: see `PartitionState`. */
export function noteEnd(step: StepInProgress, partition: PartitionState, readAppendTimeMs: number | null): void {
  const { position, tailPosition } = partition.window
  const readTo = tailPosition ?? position
  if (readTo > partition.end) partition.end = readTo
  if (position >= partition.end) partition.unreadSinceMs = null
  else if (readAppendTimeMs !== null) partition.unreadSinceMs = readAppendTimeMs
  else partition.unreadSinceMs ??= step.state.nowMs
}
