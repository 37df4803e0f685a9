import { FreshetError } from './errors.ts'
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
  /** What tracing systems keep beside it; absent when there is none. */
  readonly tracestate?: string
}

/**
 * Unique per event and generation; no colon, not an integer, so that every queue accepts it. A job that runs again
 * because its result was refused has `-r<n>` behind it.
 */
export function jobIdOf(job: Pick<EmbedJob, 'generation' | 'partition' | 'version'>): string {
  return `${job.generation}-${job.partition}-${job.version.offset}`
}

/** Feature-store key of the superseding hint: offset of the newest image change or delete of an item. */
export function supersedeHintKey(generation: Generation, itemId: ItemId): string {
  return `hint:${generation}:${itemId}`
}

/** Bytes of a job in the queue: its JSON. Written and read by the same release; a queue is emptied before its format changes. */
export function encodeJob(job: EmbedJob): Uint8Array {
  return Buffer.from(JSON.stringify(job))
}

/** @throws FreshetError `record-undecodable` when the payload is not a job */
export function decodeJob(payload: Uint8Array): EmbedJob {
  const text = Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('utf8')
  try {
    const job: unknown = JSON.parse(text)
    if (isJob(job)) return job
  } catch (cause) {
    throw new FreshetError('record-undecodable', 'the job payload is not JSON', { cause })
  }
  throw new FreshetError('record-undecodable', 'the job payload lacks a field of an embed job')
}

/** The fields that decide what runs and where its result goes; the rest is passed on. */
function isJob(value: unknown): value is EmbedJob {
  if (typeof value !== 'object' || value === null) return false
  const job = value as Partial<Record<keyof EmbedJob, unknown>>
  const version = job.version as { readonly epoch?: unknown; readonly offset?: unknown } | undefined
  return (
    typeof job.generation === 'string' &&
    typeof job.itemId === 'string' &&
    typeof job.partition === 'number' &&
    typeof version?.epoch === 'string' &&
    typeof version.offset === 'number' &&
    typeof job.imageIdentity === 'string' &&
    Array.isArray(job.images)
  )
}
