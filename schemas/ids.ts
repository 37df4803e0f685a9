import { FreshetError } from './errors.ts'

declare const brand: unique symbol
type Brand<T, Name extends string> = T & { readonly [brand]: Name }

/** Key of an item: 1 to 512 bytes of UTF-8 without control characters. */
export type ItemId = Brand<string, 'ItemId'>
/** Name of a complete index built with one model version: `[a-z0-9-]{1,40}`, never used again. */
export type Generation = Brand<string, 'Generation'>
/** Partition of the catalog topic and of every mutation topic. */
export type Partition = Brand<number, 'Partition'>
/** Offset of a record in its partition. A safe integer: see ops/decisions for why not a bigint. */
export type Offset = Brand<number, 'Offset'>
/** Shard of a generation; it owns the partitions with `partition mod S = shard`. */
export type ShardId = Brand<number, 'ShardId'>
export type ReplicaId = Brand<string, 'ReplicaId'>
/** Identity of one life of the catalog topic, from its `TopicEpoch` marker: 16 hex digits. */
export type TopicEpoch = Brand<string, 'TopicEpoch'>
/** Covers detector, crop policy, preprocessing, embedder and output type: 64 hex digits. */
export type Fingerprint = Brand<string, 'Fingerprint'>
/** SHA-256 of image bytes: 64 hex digits. */
export type ImageDigest = Brand<string, 'ImageDigest'>

/**
 * Version of an item's state: the coordinates of its event in the catalog topic. Two versions are comparable only
 * within one partition of one epoch, by offset. No clocks.
 */
export interface Version {
  readonly epoch: TopicEpoch
  readonly offset: Offset
}

export const itemIdMaxBytes = 512
const controlCharacters = /\p{Cc}/u
const loneSurrogate = /\p{Surrogate}/u

/** @throws FreshetError `bad-item-id` */
export function parseItemId(value: unknown): ItemId {
  if (typeof value !== 'string' || value === '')
    throw new FreshetError('bad-item-id', 'the item id is empty or not a string')
  const bytes = Buffer.byteLength(value)
  if (bytes > itemIdMaxBytes)
    throw new FreshetError('bad-item-id', `the item id has ${bytes} bytes, the limit is ${itemIdMaxBytes}`)
  if (controlCharacters.test(value)) throw new FreshetError('bad-item-id', 'the item id holds a control character')
  if (loneSurrogate.test(value)) throw new FreshetError('bad-item-id', 'the item id is not valid Unicode')
  return value as ItemId
}

/** @throws FreshetError `bad-request` */
export function parseGeneration(value: unknown): Generation {
  if (typeof value === 'string' && /^[a-z0-9-]{1,40}$/.test(value)) return value as Generation
  throw new FreshetError('bad-request', 'a generation name is 1 to 40 of a-z, 0-9 and -')
}

/** Partition numbers, offsets and shard ids from numbers that are known to be such. */
export const asPartition = (value: number): Partition => value as Partition
export const asOffset = (value: number): Offset => value as Offset
export const asShardId = (value: number): ShardId => value as ShardId
