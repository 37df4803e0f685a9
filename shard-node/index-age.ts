import type { Partition } from '../schemas/ids.ts'

/** The newest watermark of a partition, as manifests keep it. */
export interface SavedWatermark {
  /** Catalog offset up to which everything is applied. */
  readonly offset: number
  readonly oldestPendingTimeMs: number | null
  readonly writtenAtMs: number
}

/** A dispatcher silent for longer is taken for dead, not for idle. */
const silenceMs = 2_000

/**
 * How far behind the catalogue the index is, ms: the age of the oldest event not complete, plus the silence of a
 * dispatcher that has stopped writing watermarks; that of the worst partition. Before the first watermark nobody has
 * said that nothing is pending, so all the time from `sinceMs` counts.
 */
export function indexAgeMs(
  watermarks: ReadonlyMap<Partition, SavedWatermark>,
  partitions: readonly Partition[],
  time: { readonly nowMs: number; readonly sinceMs: number },
): number {
  let age = 0
  for (const partition of partitions) {
    const watermark = watermarks.get(partition)
    age = Math.max(age, watermark ? ageBy(watermark, time.nowMs) : time.nowMs - time.sinceMs)
  }
  return age
}

function ageBy({ oldestPendingTimeMs, writtenAtMs }: SavedWatermark, nowMs: number): number {
  const silent = nowMs - writtenAtMs
  return nowMs - (oldestPendingTimeMs ?? nowMs) + (silent > silenceMs ? silent : 0)
}
