import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openMutationCodec, writtenSchemas } from '../../schemas/avro/codec.ts'
import type { FreshetError } from '../../schemas/errors.ts'
import {
  asOffset,
  asPartition,
  asShardId,
  type Generation,
  type ItemId,
  type Offset,
  type Partition,
  parseItemId,
  type ReplicaId,
} from '../../schemas/ids.ts'
import { type Mutation, mutationKey, type RegisterMutation } from '../../schemas/mutation.ts'
import { partitionOf, shardOf } from '../../schemas/partition.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { mutationTopic } from '../../schemas/topics.ts'
import { ShardNode } from '../../shard-node/shard-node.ts'
import {
  acceptanceOf,
  attributesPut,
  itemRemoved,
  objectsPut,
  workFailed,
} from '../../shard-node/testing/shard-on-log.ts'
import { EmbeddedEventLog } from '../../topologies/embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../../topologies/embedded/environment.ts'

const dims = 8

/** An event of the catalogue and what it came to. */
export interface PublishedEvent {
  readonly itemId: ItemId
  readonly partition: Partition
  readonly offset: Offset
  readonly mutations: readonly RegisterMutation[]
}

/** Shards of several generations, real nodes on one embedded log, beside a catalogue of which only the offsets matter. */
export class GenerationsOnLog {
  readonly partitions: number
  readonly directory: string
  readonly failures: FreshetError[] = []
  readonly events: PublishedEvent[] = []
  readonly nodes: ShardNode[] = []
  readonly #environment: EmbeddedEnvironment
  readonly #log: EmbeddedEventLog
  readonly #codec: RecordCodec<Mutation>
  readonly #ends: number[]

  private constructor(
    directory: string,
    partitions: number,
    environment: EmbeddedEnvironment,
    codec: RecordCodec<Mutation>,
  ) {
    this.directory = directory
    this.partitions = partitions
    this.#environment = environment
    this.#log = new EmbeddedEventLog(environment)
    this.#codec = codec
    // The first record of each partition is its marker.
    this.#ends = new Array<number>(partitions).fill(1)
  }

  static async create(partitions: number): Promise<GenerationsOnLog> {
    const directory = await mkdtemp(join(tmpdir(), 'freshet-generations-'))
    const environment = await EmbeddedEnvironment.open({ directory: join(directory, 'log'), clock: Date.now })
    const schemas = writtenSchemas.map((written, id) => ({ ...written, id: id + 1 }))
    const codec = await openMutationCodec({
      byId: async id => schemas[id - 1]!,
      versions: async subject => schemas.filter(schema => schema.subject === subject),
    })
    return new GenerationsOnLog(directory, partitions, environment, codec)
  }

  /** One replica of each shard. */
  async start(generation: Generation, shards: number): Promise<readonly ShardNode[]> {
    await this.#log.ensureTopic({
      name: mutationTopic(generation),
      partitions: this.partitions,
      compacted: true,
      retentionMs: null,
      minCompactionLagMs: 3_600_000,
      tombstoneRetentionMs: 7 * 24 * 3_600_000,
    })
    const opening = Array.from({ length: shards }, (_, shard) => this.#openNode(generation, { shard, shards }))
    const nodes = await Promise.all(opening)
    this.nodes.push(...nodes)
    return nodes
  }

  async #openNode(generation: Generation, { shard, shards }: { shard: number; shards: number }): Promise<ShardNode> {
    const all = Array.from({ length: this.partitions }, (_, i) => asPartition(i))
    const replica = `${generation}-${shard}-a`
    return ShardNode.open({
      directory: join(this.directory, replica),
      log: this.#log,
      codec: this.#codec,
      generation,
      acceptance: acceptanceOf(dims),
      shard: asShardId(shard),
      replica: replica as ReplicaId,
      partitions: all.filter(partition => shardOf(partition, shards) === shard),
      clock: Date.now,
      onFailure: error => this.failures.push(error),
      onAlarm: error => this.failures.push(error),
      tuning: { checkpointEveryMs: null, recall: null, index: { threads: 1 } },
    })
  }

  /** An event of the catalogue: a picture, `failed` for one that cannot be had, null for a delete. Written by nobody yet. */
  publish(item: string, picture: string | null | 'failed'): PublishedEvent {
    const itemId = parseItemId(item)
    const partition = partitionOf(itemId, this.partitions)
    const offset = asOffset(this.#ends[partition]!++)
    const event = { itemId, partition, offset, mutations: mutationsOf(item, offset, picture) }
    this.events.push(event)
    return event
  }

  /** Appends what events came to, or anything else, to a generation's log. */
  async write(generation: Generation, mutations: readonly Mutation[]): Promise<void> {
    await this.#log.append(
      mutationTopic(generation),
      mutations.map(mutation => ({
        partition: mutation.type === 'Watermark' ? mutation.partition : partitionOf(mutation.itemId, this.partitions),
        key: Buffer.from(mutationKey(mutation)),
        value: this.#codec.encode(mutation),
      })),
    )
  }

  /** All partitions are applied, up to their end or up to a lower offset each, and the nodes know. */
  async applied(generation: Generation, upTo: (partition: Partition) => number = partition => this.end(partition) - 1) {
    const watermarks = Array.from({ length: this.partitions }, (_, i): Mutation => {
      const partition = asPartition(i)
      return {
        type: 'Watermark',
        partition,
        offset: asOffset(upTo(partition)),
        oldestPendingTimeMs: null,
        endOffset: this.end(partition),
        writtenAtMs: Date.now(),
      }
    })
    await this.write(generation, watermarks)
    const ends = await this.#log.offsets(mutationTopic(generation))
    for (const node of this.nodes.filter(one => one.generation === generation && one.state === 'ready'))
      for (const partition of node.partitions) await node.reached(partition, ends.get(partition)!.end)
  }

  end(partition: Partition): Offset {
    return asOffset(this.#ends[partition]!)
  }

  async catalogEnds(): Promise<ReadonlyMap<Partition, { readonly end: Offset }>> {
    return new Map(this.#ends.map((end, partition) => [asPartition(partition), { end: asOffset(end) }] as const))
  }

  async dispose(): Promise<void> {
    await Promise.all(this.nodes.map(node => node.close()))
    await this.#log.close()
    await this.#environment.close()
    await rm(this.directory, { recursive: true, force: true })
  }
}

export function mutationsOf(
  item: string,
  offset: number,
  picture: string | null | 'failed',
): readonly RegisterMutation[] {
  if (picture === null) return [itemRemoved(item, offset)]
  if (picture === 'failed') return [attributesPut(item, offset), workFailed(item, offset)]
  return [attributesPut(item, offset), picturePut(item, offset, picture)]
}

/** Objects of a picture of the item: its identity does not tell the version. */
export function picturePut(item: string, offset: number, picture: string): RegisterMutation {
  const put = objectsPut(item, offset, [Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0)])
  if (put.type !== 'ObjectsPut') throw new Error('no objects')
  return { ...put, imageIdentity: `["","${picture}"]` }
}
