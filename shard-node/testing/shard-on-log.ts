import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import type { Acceptance } from '../../schemas/accept-mutation.ts'
import { openMutationCodec, writtenSchemas } from '../../schemas/avro/codec.ts'
import type { ItemAttributes } from '../../schemas/catalog-event.ts'
import type { FreshetError } from '../../schemas/errors.ts'
import {
  asOffset,
  asPartition,
  asShardId,
  type Fingerprint,
  type ImageDigest,
  parseGeneration,
  parseItemId,
  type ReplicaId,
  type TopicEpoch,
} from '../../schemas/ids.ts'
import { type Mutation, mutationKey, type RegisterMutation } from '../../schemas/mutation.ts'
import { partitionOf } from '../../schemas/partition.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import type { SearchFilter, ShardSearchResult } from '../../schemas/shard-api.ts'
import { mutationTopic } from '../../schemas/topics.ts'
import { encodeF16 } from '../../schemas/unit-vector.ts'
import { EmbeddedEventLog } from '../../topologies/embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../../topologies/embedded/environment.ts'
import { ShardNode } from '../shard-node.ts'
import type { SearchableItem, ShardTuning } from '../shard-node-options.ts'

export const partitionCount = 2
export const generation = parseGeneration('g1')
const topic = mutationTopic(generation)
const epoch = '00000000000000aa' as TopicEpoch
const fingerprint = 'f'.repeat(64) as Fingerprint

export function acceptanceOf(dims: number): Acceptance {
  return { dims, fingerprint, topicEpoch: epoch }
}

export function attributesPut(
  itemId: string,
  offset: number,
  attributes: Partial<ItemAttributes> = {},
): RegisterMutation {
  return {
    type: 'AttributesPut',
    itemId: parseItemId(itemId),
    version: { epoch, offset: asOffset(offset) },
    title: `title ${offset}`,
    category: 'chair',
    price: 10,
    currency: 'EUR',
    regions: ['DE'],
    available: true,
    attributes: {},
    ...attributes,
    images: [`https://images.example/${itemId}.jpg`],
    imageVersion: '',
    acceptedAtMs: 1_000 + offset,
  }
}

/** One object per vector; the label tells the version, so that a hit shows of which set it is. */
export function objectsPut(itemId: string, offset: number, vectors: readonly Float32Array[]): RegisterMutation {
  return {
    type: 'ObjectsPut',
    itemId: parseItemId(itemId),
    version: { epoch, offset: asOffset(offset) },
    imageIdentity: `["","https://images.example/${itemId}.jpg#${offset}"]`,
    imageDigests: ['a'.repeat(64) as ImageDigest],
    fingerprint,
    objects: vectors.map((vector, i) => ({
      box: [0, 0, 1, (i + 1) / vectors.length],
      label: `v${offset}`,
      score: 1,
      image: 0,
      vector: encodeF16(vector),
    })),
  }
}

export function itemRemoved(itemId: string, offset: number): RegisterMutation {
  return {
    type: 'ItemRemoved',
    itemId: parseItemId(itemId),
    version: { epoch, offset: asOffset(offset) },
    acceptedAtMs: 1_000 + offset,
  }
}

export function workFailed(itemId: string, offset: number, retryable = false): RegisterMutation {
  return {
    type: 'WorkFailed',
    itemId: parseItemId(itemId),
    version: { epoch, offset: asOffset(offset) },
    imageIdentity: 'i',
    stage: 'fetch',
    code: 'image-not-found',
    message: 'no such image',
    retryable,
    attempts: 1,
  }
}

/** A shard node on a real embedded log in a directory of its own. */
export class ShardOnLog {
  readonly directory: string
  readonly alarms: FreshetError[] = []
  readonly failures: FreshetError[] = []
  /** Items in the order in which they became searchable. */
  readonly announced: SearchableItem[] = []
  readonly dims: number
  readonly #environment: EmbeddedEnvironment
  readonly log: EmbeddedEventLog
  readonly codec: RecordCodec<Mutation>
  nowMs = 1_000_000
  #node: ShardNode | null = null

  private constructor(directory: string, dims: number, environment: EmbeddedEnvironment, codec: RecordCodec<Mutation>) {
    this.directory = directory
    this.dims = dims
    this.#environment = environment
    this.log = new EmbeddedEventLog(environment)
    this.codec = codec
  }

  static async create(dims: number): Promise<ShardOnLog> {
    const directory = await mkdtemp(join(tmpdir(), 'freshet-shard-'))
    let nowMs = (): number => 1_000_000
    const environment = await EmbeddedEnvironment.open({ directory: join(directory, 'log'), clock: () => nowMs() })
    const schemas = writtenSchemas.map((written, id) => ({ ...written, id: id + 1 }))
    const codec = await openMutationCodec({
      byId: async id => schemas[id - 1]!,
      versions: async subject => schemas.filter(schema => schema.subject === subject),
    })
    const shard = new ShardOnLog(directory, dims, environment, codec)
    nowMs = () => shard.nowMs
    await shard.log.ensureTopic({
      name: topic,
      partitions: partitionCount,
      compacted: true,
      retentionMs: null,
      minCompactionLagMs: 3_600_000,
      tombstoneRetentionMs: 7 * 24 * 3_600_000,
    })
    return shard
  }

  get node(): ShardNode {
    if (this.#node === null) throw new Error('the node is not open')
    return this.#node
  }

  get checkpointDirectory(): string {
    return join(this.directory, 'shard')
  }

  /** Opens the node, or another one in its own directory, and waits until it is ready. */
  async open(
    options: {
      readonly directory?: string
      readonly seedDirectory?: string
      readonly tuning?: Partial<ShardTuning>
    } = {},
  ): Promise<ShardNode> {
    const node = await ShardNode.open({
      directory: options.directory ?? this.checkpointDirectory,
      log: this.log,
      codec: this.codec,
      generation,
      acceptance: acceptanceOf(this.dims),
      shard: asShardId(0),
      replica: 'r0' as ReplicaId,
      partitions: Array.from({ length: partitionCount }, (_, index) => asPartition(index)),
      clock: () => this.nowMs,
      onFailure: error => this.failures.push(error),
      onAlarm: error => this.alarms.push(error),
      onSearchable: items => this.announced.push(...items),
      ...(options.seedDirectory === undefined ? {} : { seedDirectory: options.seedDirectory }),
      tuning: { checkpointEveryMs: null, ...options.tuning },
    })
    if (options.directory === undefined) this.#node = node
    await this.caughtUp(node)
    return node
  }

  async append(mutations: readonly Mutation[]): Promise<void> {
    await this.log.append(
      topic,
      mutations.map(mutation => ({
        partition: mutation.type === 'Watermark' ? mutation.partition : partitionOf(mutation.itemId, partitionCount),
        key: Buffer.from(mutationKey(mutation)),
        value: this.codec.encode(mutation),
      })),
    )
  }

  /** Appends and waits until the node searches what was appended. */
  async apply(...mutations: readonly Mutation[]): Promise<void> {
    await this.append(mutations)
    await this.caughtUp()
  }

  /** A watermark for every partition. */
  async watermark(offset: number): Promise<void> {
    await this.apply(
      ...Array.from(
        { length: partitionCount },
        (_, index): Mutation => ({
          type: 'Watermark',
          partition: asPartition(index),
          offset: asOffset(offset),
          oldestPendingTimeMs: null,
          endOffset: asOffset(offset + 1),
          writtenAtMs: this.nowMs,
        }),
      ),
    )
  }

  /** Resolves when everything in the log is applied and searched. */
  async caughtUp(node = this.node): Promise<void> {
    const ends = await this.log.offsets(topic)
    for (const [partition, { end }] of ends) await node.reached(partition, end)
  }

  async search(
    vector: Float32Array,
    options: {
      readonly k?: number
      readonly filter?: SearchFilter
      readonly exact?: boolean
      readonly node?: ShardNode
    } = {},
  ): Promise<ShardSearchResult> {
    const { k = 10, node = this.node, ...rest } = options
    return node.search({ generation, fingerprint, vector, k, ...rest })
  }

  async dispose(): Promise<void> {
    await this.#node?.close()
    await this.log.close()
    await this.#environment.close()
    await rm(this.directory, { recursive: true, force: true })
  }
}
