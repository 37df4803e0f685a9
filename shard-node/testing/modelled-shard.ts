import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openMutationCodec, writtenSchemas } from '../../schemas/avro/codec.ts'
import type { FreshetError } from '../../schemas/errors.ts'
import { asOffset, asPartition, asShardId, type Partition, parseGeneration, type ReplicaId } from '../../schemas/ids.ts'
import { type Mutation, mutationKey, type RegisterMutation, registerOf } from '../../schemas/mutation.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import type { ShardSearchRequest } from '../../schemas/shard-api.ts'
import { mutationTopic } from '../../schemas/topics.ts'
import type { EventLog } from '../../topologies/event-log.ts'
import { ShardNode } from '../shard-node.ts'
import type { ShardNodeOptions } from '../shard-node-options.ts'
import { InMemoryLogStorage } from './in-memory-log.ts'
import { ShardModel } from './shard-model.ts'
import { acceptanceOf } from './shard-on-log.ts'
import { type EventKind, ShardWorkload } from './shard-workload.ts'

export const partitionCount = 2
const partitions = Array.from({ length: partitionCount }, (_, index) => asPartition(index))
const generation = parseGeneration('g1')
const topic = mutationTopic(generation)
const day = 24 * 3_600_000

export interface ModelledShardOptions {
  readonly seed: number
  readonly dims: number
  /** Size of the space that item ids are drawn from. */
  readonly items: number
  readonly tuning?: ShardNodeOptions['tuning']
}

/** A shard on a log in memory, its files in a directory of its own, and beside it the model of the same log. */
export class ModelledShard {
  readonly storage = new InMemoryLogStorage()
  readonly model = new ShardModel(partitionCount)
  readonly workload: ShardWorkload
  readonly directory: string
  readonly alarms: FreshetError[] = []
  readonly failures: FreshetError[] = []
  readonly #options: ModelledShardOptions
  readonly #log: EventLog
  readonly #codec: RecordCodec<Mutation>
  readonly #nodes = new Set<ShardNode>()
  /** Newest version of each register of each item that the log was given, and the keys of those it beat. */
  readonly #newest = new Map<string, RegisterMutation>()
  readonly #beaten = new Map<string, Partition>()
  #node: ShardNode | null = null
  #settled = 0
  #directories = 0

  private constructor(options: ModelledShardOptions, directory: string, codec: RecordCodec<Mutation>) {
    this.#options = options
    this.directory = directory
    this.#codec = codec
    this.#log = this.storage.open()
    this.workload = new ShardWorkload(options)
  }

  static async create(options: ModelledShardOptions): Promise<ModelledShard> {
    const schemas = writtenSchemas.map((written, id) => ({ ...written, id: id + 1 }))
    const codec = await openMutationCodec({
      byId: async id => schemas[id - 1]!,
      versions: async subject => schemas.filter(schema => schema.subject === subject),
    })
    const shard = new ModelledShard(options, await mkdtemp(join(tmpdir(), 'freshet-model-')), codec)
    await shard.#log.ensureTopic({
      name: topic,
      partitions: partitionCount,
      compacted: true,
      retentionMs: null,
      minCompactionLagMs: 3_600_000,
      tombstoneRetentionMs: 7 * day,
    })
    return shard
  }

  /** The replica that serves. */
  get node(): ShardNode {
    assert(this.#node !== null, 'no replica is open')
    return this.#node
  }

  /** Null between the end of one replica and the next. */
  get serving(): ShardNode | null {
    return this.#node
  }

  /** The model's moment that the serving replica had certainly applied. */
  get settled(): number {
    return this.#settled
  }

  newDirectory(): string {
    return join(this.directory, `shard-${++this.#directories}`)
  }

  /** Opens a replica and waits until it is ready. */
  async open(directory: string, options: Partial<ShardNodeOptions> = {}): Promise<ShardNode> {
    const node = await ShardNode.open({
      directory,
      log: this.#log,
      codec: this.#codec,
      generation,
      acceptance: acceptanceOf(this.#options.dims),
      shard: asShardId(0),
      replica: 'r0' as ReplicaId,
      partitions,
      clock: () => this.storage.nowMs,
      onFailure: error => this.failures.push(error),
      onAlarm: error => this.alarms.push(error),
      ...options,
      tuning: { checkpointEveryMs: null, ...this.#options.tuning, ...options.tuning },
    })
    this.#nodes.add(node)
    await this.caughtUp(node)
    return node
  }

  /** Makes a replica that is open the one that serves. */
  async serve(node: ShardNode): Promise<void> {
    const moment = await this.#reach(node)
    this.#node = node
    this.#settle(moment)
  }

  async close(node: ShardNode): Promise<void> {
    if (this.#node === node) this.#node = null
    await node.close()
    this.#nodes.delete(node)
  }

  /** Writes to the log and the model. Readable at once. */
  async write(mutations: readonly RegisterMutation[]): Promise<void> {
    for (const mutation of mutations) {
      this.model.apply(mutation)
      this.#noteBeaten(mutation)
    }
    await this.#append(mutations)
  }

  /** So many events of the workload; returns how many of each kind. */
  async writeEvents(count: number): Promise<Map<EventKind, number>> {
    const counts = new Map<EventKind, number>()
    for (let i = 0; i < count; i++) {
      const { kind, mutations } = this.workload.next()
      counts.set(kind, (counts.get(kind) ?? 0) + 1)
      await this.write(mutations)
    }
    return counts
  }

  /** What the workload vouches for. */
  async writeWatermark(): Promise<void> {
    const offset = this.workload.completeVersion
    await this.#append(
      partitions.map(partition => ({
        type: 'Watermark',
        partition,
        offset: asOffset(offset),
        oldestPendingTimeMs: null,
        endOffset: asOffset(offset + 1),
        writtenAtMs: this.storage.nowMs,
      })),
    )
  }

  /**
   * What becomes of a log that grows old: the dispatcher writes a null for each write that a higher version of its
   * register has beaten, log compaction takes both away. Returns how many records went.
   */
  async compactLog(): Promise<number> {
    const nulls = [...this.#beaten].map(([key, partition]) => ({ partition, key: Buffer.from(key), value: null }))
    this.#beaten.clear()
    await this.#log.append(topic, nulls)
    return this.storage.compact(topic)
  }

  /** Resolves when the replica searches everything that was written before the call. */
  async caughtUp(node = this.node): Promise<void> {
    const moment = await this.#reach(node)
    if (node === this.#node) this.#settle(moment)
  }

  request(query: Omit<ShardSearchRequest, 'generation' | 'fingerprint'>): ShardSearchRequest {
    const { fingerprint } = acceptanceOf(this.#options.dims)
    return { generation, fingerprint, ...query }
  }

  async dispose(): Promise<void> {
    for (const node of this.#nodes) await node.close()
    await this.#log.close()
    await rm(this.directory, { recursive: true, force: true })
  }

  async #reach(node: ShardNode): Promise<number> {
    const { moment } = this.model
    for (const [partition, { end }] of await this.#log.offsets(topic)) await node.reached(partition, end)
    return moment
  }

  #settle(moment: number): void {
    this.#settled = moment
    this.model.forget(moment)
  }

  async #append(mutations: readonly Mutation[]): Promise<void> {
    await this.#log.append(
      topic,
      mutations.map(mutation => ({
        partition: mutation.type === 'Watermark' ? mutation.partition : this.model.partitionOf(mutation.itemId),
        key: Buffer.from(mutationKey(mutation)),
        value: this.#codec.encode(mutation),
      })),
    )
  }

  #noteBeaten(mutation: RegisterMutation): void {
    const register = `${registerOf(mutation)}:${mutation.itemId}`
    const held = this.#newest.get(register)
    if (held === undefined) {
      this.#newest.set(register, mutation)
      return
    }
    if (held.version.offset === mutation.version.offset) return
    const [newer, older] = held.version.offset > mutation.version.offset ? [held, mutation] : [mutation, held]
    this.#newest.set(register, newer)
    this.#beaten.set(mutationKey(older), this.model.partitionOf(older.itemId))
  }
}
