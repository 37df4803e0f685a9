import type { Partition } from '../schemas/ids.ts'
import type { SavedWatermark } from './checkpoint-manifest.ts'

/** A dispatcher silent for longer is taken for dead, not for idle. */
const silenceMs = 2_000

/**
 * How far behind the catalogue the index is, ms: the age of the oldest event not complete, plus the silence of a
 * dispatcher that has stopped writing watermarks; that of the worst partition. Before the first watermark the
 * silence counts from `sinceMs`.
 */
export function indexAgeMs(
  watermarks: ReadonlyMap<Partition, SavedWatermark>,
  partitions: readonly Partition[],
  time: { readonly nowMs: number; readonly sinceMs: number },
): number {
  let age = 0
  for (const partition of partitions) {
    const watermark = watermarks.get(partition)
    const pending = watermark?.oldestPendingTimeMs ?? time.nowMs
    const silent = time.nowMs - (watermark?.writtenAtMs ?? time.sinceMs)
    age = Math.max(age, time.nowMs - pending + (silent > silenceMs ? silent : 0))
  }
  return age
}
