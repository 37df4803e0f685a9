import type { Generation, ItemId, Partition, Version } from './ids.ts'

/** Live before standby before backfill; backfill keeps at least 5%. */
export type WorkPriority = 'live' | 'standby' | 'backfill'

/** The image work of one catalog event for one generation. Holds references, never image bytes. */
export interface EmbedJob {
  readonly generation: Generation
  readonly itemId: ItemId
  readonly partition: Partition
  /** Version of the event that introduced the image. */
  readonly version: Version
  readonly imageIdentity: string
  readonly images: readonly string[]
  readonly refresh: boolean
  /** Append time of the event. */
  readonly acceptedAtMs: number
  /**
   * Since when the item waits for any finished image work. While older than the worker's `supersedeForMs`, the job
   * runs although a newer image exists, so that an item whose image changes faster than it embeds still appears.
   */
  readonly pendingSinceMs: number
  /** W3C trace context of the publish call; empty when there is none. */
  readonly traceparent: string
}

/** Unique per event and generation; no colon, not an integer, so that every queue accepts it. */
export function jobIdOf(job: Pick<EmbedJob, 'generation' | 'partition' | 'version'>): string {
  return `${job.generation}-${job.partition}-${job.version.offset}`
}

/** Feature-store key of the superseding hint: offset of the newest image change or delete of an item. */
export function supersedeHintKey(generation: Generation, itemId: ItemId): string {
  return `hint:${generation}:${itemId}`
}
