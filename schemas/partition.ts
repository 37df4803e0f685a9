import type { ItemId, Partition, ShardId } from './ids.ts'
import { asPartition, asShardId } from './ids.ts'

/**
 * murmur2 as Kafka's Java client computes it (seed 0x9747b28c), over the UTF-8 bytes of the key; so that stock
 * Java producers, librdkafka with `partitioner=murmur2_random` and every adapter of ours agree.
 * Source: org.apache.kafka.common.utils.Utils.murmur2.
 */
export function murmur2(data: Uint8Array): number {
  const m = 0x5bd1e995
  const length = data.length
  let h = 0x9747b28c ^ length
  const words = length >> 2
  for (let i = 0; i < words; i++) {
    const at = i * 4
    let k = data[at]! | (data[at + 1]! << 8) | (data[at + 2]! << 16) | (data[at + 3]! << 24)
    k = Math.imul(k, m)
    k ^= k >>> 24
    k = Math.imul(k, m)
    h = Math.imul(h, m) ^ k
  }
  const tail = words * 4
  const rest = length & 3
  if (rest === 3) h ^= data[tail + 2]! << 16
  if (rest >= 2) h ^= data[tail + 1]! << 8
  if (rest >= 1) {
    h ^= data[tail]!
    h = Math.imul(h, m)
  }
  h ^= h >>> 13
  h = Math.imul(h, m)
  h ^= h >>> 15
  return h | 0
}

const encoder = new TextEncoder()

/** Partition of an item: `murmur2(itemId) mod P`, sign bit cleared as Kafka does. */
export function partitionOf(itemId: ItemId, partitionCount: number): Partition {
  return asPartition((murmur2(encoder.encode(itemId)) & 0x7fffffff) % partitionCount)
}

/** Shard that owns a partition in a generation of `shardCount` shards. */
export function shardOf(partition: Partition, shardCount: number): ShardId {
  return asShardId(partition % shardCount)
}
