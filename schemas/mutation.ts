import type { ItemAttributes } from './catalog-event.ts'
import type { ErrorCode } from './errors.ts'
import type { Fingerprint, ImageDigest, ItemId, Offset, Partition, Version } from './ids.ts'

/** `[x0, y0, x1, y1]` as fractions of the EXIF-oriented image. */
export type Box = readonly [number, number, number, number]

/** One object of an item: a box in one of its images and the vector of what is in it. */
export interface ItemObject {
  readonly box: Box
  /** The detector's class name, a hint only; empty for the whole picture. */
  readonly label: string
  /** Detector score 0..1; 1 for the whole picture. */
  readonly score: number
  /** Index into the item's images. */
  readonly image: number
  /** Unit vector, little-endian f16, 2 × dims bytes. */
  readonly vector: Uint8Array
}

interface ItemMutation {
  readonly itemId: ItemId
  readonly version: Version
}

/** Objects register: replaces the item's whole object set. `version` is that of the event that introduced the image. */
export interface ObjectsPut extends ItemMutation {
  readonly type: 'ObjectsPut'
  readonly imageIdentity: string
  /** Digest of the bytes of each image, in order of the references. */
  readonly imageDigests: readonly ImageDigest[]
  readonly fingerprint: Fingerprint
  readonly objects: readonly ItemObject[]
}

/** Attributes register: every upsert writes it, at once. */
export interface AttributesPut extends ItemMutation, ItemAttributes {
  readonly type: 'AttributesPut'
  readonly images: readonly string[]
  readonly imageVersion: string
  /** Broker's append time of the event, ms since 1970. */
  readonly acceptedAtMs: number
}

/** Removal register: the highest tombstone. */
export interface ItemRemoved extends ItemMutation {
  readonly type: 'ItemRemoved'
  readonly acceptedAtMs: number
}

/** Failure register: image work that failed. Old good objects stay searchable, marked stale. */
export interface WorkFailed extends ItemMutation {
  readonly type: 'WorkFailed'
  readonly imageIdentity: string
  readonly stage: WorkStage
  readonly code: ErrorCode
  readonly message: string
  /** True: still being retried in the background. False: given up, in the dead letters. */
  readonly retryable: boolean
  readonly attempts: number
}

export type WorkStage = 'dispatch' | 'fetch' | 'decode' | 'embed' | 'publish'

/** Everything of the partition's catalog events up to and including `offset` is applied. */
export interface Watermark {
  readonly type: 'Watermark'
  readonly partition: Partition
  /** Highest catalog offset below which all is complete, inclusive; -1 before the first. */
  readonly offset: Offset
  /** Append time of the oldest event that is not complete; null when there is none. */
  readonly oldestPendingTimeMs: number | null
  /** End offset (exclusive) of the catalog partition when written. */
  readonly endOffset: Offset
  readonly writtenAtMs: number
}

export type Mutation = ObjectsPut | AttributesPut | ItemRemoved | WorkFailed | Watermark
export type RegisterMutation = Exclude<Mutation, Watermark>
export type Register = 'o' | 'a' | 'x' | 'f'

export function registerOf(mutation: RegisterMutation): Register {
  switch (mutation.type) {
    case 'ObjectsPut':
      return 'o'
    case 'AttributesPut':
      return 'a'
    case 'ItemRemoved':
      return 'x'
    case 'WorkFailed':
      return 'f'
  }
}

/** Key of a register write: no two versions share a key, because log compaction keeps the last, not the newest. */
export function registerKey(register: Register, itemId: ItemId, offset: Offset): string {
  return `${register}:${itemId}@${offset}`
}

export function mutationKey(mutation: Mutation): string {
  if (mutation.type === 'Watermark') return `w:${mutation.partition}`
  return registerKey(registerOf(mutation), mutation.itemId, mutation.version.offset)
}
