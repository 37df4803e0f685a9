import assert from 'node:assert/strict'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { openMutationCodec, writtenSchemas } from '../../schemas/avro/codec.ts'
import type { FreshetError } from '../../schemas/errors.ts'
import { asOffset, asPartition, asShardId, parseGeneration, type ReplicaId } from '../../schemas/ids.ts'
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
import { type EventKind, ShardWorkload, type WorkloadOptions } from './shard-workload.ts'

export const partitionCount = 2
const partitions = Array.from({ length: partitionCount }, (_, index) => asPartition(index))
const generation = parseGeneration('g1')
const topic = mutationTopic(generation)
const day = 24 * 3_600_000

export interface ModelledShardOptions extends WorkloadOptions {
  readonly tuning?: ShardNodeOptions['tuning']
  /** One in memory if not given. */
  readonly log?: EventLog
}

/** A shard on a log, its files in a directory of its own, and beside it the model of the same log. */
export class ModelledShard {
  /** Of the log, when it is the one in memory; holds the clock. */
  readonly storage = new InMemoryLogStorage()
  readonly model = new ShardModel(partitionCount)
  readonly workload: ShardWorkload
  readonly log: EventLog
  readonly directory: string
  readonly alarms: FreshetError[] = []
  readonly failures: FreshetError[] = []
  readonly #options: ModelledShardOptions
  readonly #codec: RecordCodec<Mutation>
  readonly #nodes = new Set<ShardNode>()
  /** By register of each item, the newest version that the log was given; and by key those that it beat. */
  readonly #newest = new Map<string, RegisterMutation>()
  readonly #beaten = new Map<string, RegisterMutation>()
  #node: ShardNode | null = null
  #settled = 0
  #directories = 0

  private constructor(options: ModelledShardOptions, directory: string, codec: RecordCodec<Mutation>) {
    this.#options = options
    this.directory = directory
    this.#codec = codec
    this.log = options.log ?? this.storage.open()
    this.workload = new ShardWorkload(options)
  }

  static async create(options: ModelledShardOptions): Promise<ModelledShard> {
    const schemas = writtenSchemas.map((written, id) => ({ ...written, id: id + 1 }))
    const codec = await openMutationCodec({
      byId: async id => schemas[id - 1]!,
      versions: async subject => schemas.filter(schema => schema.subject === subject),
    })
    const shard = new ModelledShard(options, await mkdtemp(join(tmpdir(), 'freshet-model-')), codec)
    await shard.log.ensureTopic({
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

  /** Makes the model of what is in the log already. */
  async readLog(): Promise<void> {
    const reader = await this.log.openReader({ topic, partitions, from: new Map() })
    for (;;) {
      const records = await reader.poll(1_000, 0)
      if (records.length === 0) break
      for (const { value } of records) {
        if (value === null) continue
        await this.#codec.learn(value)
        const mutation = this.#codec.decode(value)
        if (mutation.type !== 'Watermark') this.#note(mutation)
      }
    }
    await reader.close()
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
      log: this.log,
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
    for (const mutation of mutations) this.#note(mutation)
    await this.#append(mutations)
  }

  /** So many events of the workload, in one append; returns how many of each kind. */
  async writeEvents(count: number): Promise<ReadonlyMap<EventKind, number>> {
    const events = Array.from({ length: count }, () => this.workload.next())
    await this.write(events.flatMap(({ mutations }) => mutations))
    const counts = new Map<EventKind, number>()
    for (const { kind } of events) counts.set(kind, (counts.get(kind) ?? 0) + 1)
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
  compactLog(): Promise<number> {
    const beaten = [...this.#beaten.values()]
    this.#beaten.clear()
    return this.removeFromLog(beaten)
  }

  /** As if these had been nulled, and the nulls compacted away too. Returns how many records went. */
  async removeFromLog(mutations: readonly RegisterMutation[]): Promise<number> {
    const nulls = mutations.map(mutation => ({
      partition: this.model.partitionOf(mutation.itemId),
      key: Buffer.from(mutationKey(mutation)),
      value: null,
    }))
    await this.log.append(topic, nulls)
    return this.storage.compact(topic)
  }

  /** Removes everything that was written so far from the log. */
  async removeAllFromLog(): Promise<void> {
    const offsets = await this.log.offsets(topic)
    this.storage.removeBefore(topic, new Map([...offsets].map(([partition, { end }]) => [partition, end])))
  }

  /** Resolves when the replica searches everything that was written before the call. */
  async caughtUp(node = this.node): Promise<void> {
    const moment = await this.#reach(node)
    if (node === this.#node) this.#settle(moment)
  }

  readonly request = (query: Omit<ShardSearchRequest, 'generation' | 'fingerprint'>): ShardSearchRequest => {
    const { fingerprint } = acceptanceOf(this.#options.dims)
    return { generation, fingerprint, ...query }
  }

  async dispose(): Promise<void> {
    for (const node of this.#nodes) await node.close()
    await this.log.close()
    await rm(this.directory, { recursive: true, force: true })
  }

  async #reach(node: ShardNode): Promise<number> {
    const { moment } = this.model
    for (const [partition, { end }] of await this.log.offsets(topic)) await node.reached(partition, end)
    return moment
  }

  #settle(moment: number): void {
    this.#settled = moment
    this.model.forget(moment)
  }

  async #append(mutations: readonly Mutation[]): Promise<void> {
    await this.log.append(
      topic,
      mutations.map(mutation => ({
        partition: mutation.type === 'Watermark' ? mutation.partition : this.model.partitionOf(mutation.itemId),
        key: Buffer.from(mutationKey(mutation)),
        value: this.#codec.encode(mutation),
      })),
    )
  }

  #note(mutation: RegisterMutation): void {
    this.model.apply(mutation)
    const register = `${registerOf(mutation)}:${mutation.itemId}`
    const held = this.#newest.get(register)
    if (held === undefined) {
      this.#newest.set(register, mutation)
      return
    }
    if (held.version.offset === mutation.version.offset) return
    const [newer, older] = held.version.offset > mutation.version.offset ? [held, mutation] : [mutation, held]
    this.#newest.set(register, newer)
    this.#beaten.set(mutationKey(older), older)
  }
}
