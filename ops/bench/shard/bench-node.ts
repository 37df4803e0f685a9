import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { openMutationCodec, writtenSchemas } from '../../../schemas/avro/codec.ts'
import {
  asPartition,
  asShardId,
  type Offset,
  type Partition,
  parseItemId,
  type ReplicaId,
} from '../../../schemas/ids.ts'
import { mutationKey, type RegisterMutation } from '../../../schemas/mutation.ts'
import { partitionOf } from '../../../schemas/partition.ts'
import type { RecordCodec } from '../../../schemas/record-codec.ts'
import { mutationTopic } from '../../../schemas/topics.ts'
import { decodeF16 } from '../../../schemas/unit-vector.ts'
import { ShardNode } from '../../../shard-node/shard-node.ts'
import type { ShardTuning } from '../../../shard-node/shard-node-options.ts'
import { acceptanceOf, attributesPut, generation, objectsPut } from '../../../shard-node/testing/shard-on-log.ts'
import { EmbeddedEventLog } from '../../../topologies/embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../../../topologies/embedded/environment.ts'
import type { LiveRows } from './bench-index.ts'
import { ClusteredData } from './clustered-data.ts'
import { RowSupply } from './row-supply.ts'

export interface BenchNodeOptions {
  readonly directory: string
  readonly dims: number
  readonly seed: number
  /** Upserts 0 to items - 1 are of new items; see `itemOf`. */
  readonly items: number
  readonly order: UpsertOrder
  /** Upserts that the log holds; beyond what was acknowledged there may be gaps. */
  readonly firstUpsert: number
  readonly tuning?: Partial<ShardTuning>
}

/** What follows the first items: every item replaced in another order each time; or half new items, half replacements. */
export type UpsertOrder = 'replace-all' | 'half-new'

/** Odd and large, so coprime to most numbers of items. */
const stride = 7_368_787

/** The item that the upsert is of; its vector is the row of the data set with the upsert's number. */
export function itemOf(upsert: number, { items, order }: Pick<BenchNodeOptions, 'items' | 'order'>): number {
  if (upsert < items || (order === 'half-new' && upsert % 2 === 0)) return upsert
  const round = Math.floor(upsert / items)
  return ((upsert % items) * stride + round * 31) % items
}

const partitions = [0, 1].map(asPartition)
const topic = mutationTopic(generation)
const appendRecords = 500

/** A real shard node that follows a real log in the same process, as on one machine, and the writer of that log. */
export class BenchNode {
  readonly node: ShardNode
  readonly data: ClusteredData
  readonly options: BenchNodeOptions
  readonly #log: EmbeddedEventLog
  readonly #environment: EmbeddedEnvironment
  readonly #codec: RecordCodec<RegisterMutation>
  readonly #supply: RowSupply
  #acknowledged: number

  private constructor(options: BenchNodeOptions, opened: OpenedLog, node: ShardNode) {
    this.options = options
    this.node = node
    this.data = new ClusteredData(options)
    this.#log = opened.log
    this.#environment = opened.environment
    this.#codec = opened.codec
    this.#supply = new RowSupply(this.data, options.firstUpsert)
    this.#acknowledged = options.firstUpsert
  }

  /** Resolves when everything in the log is searchable. */
  static async open(options: BenchNodeOptions): Promise<BenchNode> {
    const opened = await openLog(join(options.directory, 'log'))
    const fail = (error: Error): void => {
      throw error
    }
    const node = await ShardNode.open({
      directory: join(options.directory, 'shard'),
      log: opened.log,
      codec: opened.codec,
      generation,
      acceptance: acceptanceOf(options.dims),
      shard: asShardId(0),
      replica: 'bench' as ReplicaId,
      partitions,
      clock: Date.now,
      onFailure: fail,
      onAlarm: error => process.stderr.write(`  alarm: ${error.message}\n`),
      ...(options.tuning === undefined ? {} : { tuning: options.tuning }),
    })
    const bench = new BenchNode(options, opened, node)
    await bench.caughtUp()
    return bench
  }

  /** Upserts below are in the log. */
  get acknowledged(): number {
    return this.#acknowledged
  }

  /** Appends the next upserts: attributes and objects of each. Resolves when the log has them. */
  async upsert(count: number): Promise<void> {
    for (let done = 0; done < count; ) {
      const some = Math.min(count - done, appendRecords / 2)
      const mutations = Array.from({ length: some }, () => this.#nextUpsert()).flat()
      await this.#log.append(
        topic,
        mutations.map(mutation => ({
          partition: partitionOf(mutation.itemId, partitions.length),
          key: Buffer.from(mutationKey(mutation)),
          value: this.#codec.encode(mutation),
        })),
      )
      done += some
      this.#acknowledged = this.#supply.nextRow
    }
  }

  /** Resolves when everything in the log is searchable. */
  async caughtUp(): Promise<void> {
    for (const [partition, { end }] of await this.#ends()) await this.node.reached(partition, end)
  }

  /** Items found, best first. */
  async search(vector: Float32Array, k: number): Promise<Uint32Array> {
    const { fingerprint } = acceptanceOf(this.options.dims)
    const { hits } = await this.node.search({ generation, fingerprint, vector, k })
    return Uint32Array.from(hits, ({ itemId }) => Number(itemId.slice(itemPrefix.length)))
  }

  /** Whether the upsert, or a later one of its item, is searched. */
  async holds(upsert: number): Promise<boolean> {
    const { objects, searchable } = await this.node.registers(itemIdOf(itemOf(upsert, this.options)))
    return searchable && objects >= upsert
  }

  /** Every item with the row of its latest upsert. */
  liveRows(): LiveRows {
    const rows = new Map<number, number>()
    for (let upsert = 0; upsert < this.#acknowledged; upsert++) rows.set(itemOf(upsert, this.options), upsert)
    return { items: Uint32Array.from(rows.keys()), rows: Uint32Array.from(rows.values()) }
  }

  /** Bytes that the shard takes on disk, the log not counted. */
  diskBytes(): number {
    const folder = join(this.options.directory, 'shard')
    return readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .map(name => lstatSync(join(folder, name), { throwIfNoEntry: false }))
      .reduce((total, entry) => total + (entry?.isFile() ? entry.blocks * 512 : 0), 0)
  }

  async close(): Promise<void> {
    await this.node.close()
    await this.#log.close()
    await this.#environment.close()
  }

  #nextUpsert(): readonly RegisterMutation[] {
    const { row, vectors } = this.#supply.next()
    const itemId = itemIdOf(itemOf(row, this.options))
    return [attributesPut(itemId, row), objectsPut(itemId, row, [decodeF16(vectors)])]
  }

  async #ends(): Promise<ReadonlyMap<Partition, { readonly end: Offset }>> {
    return this.#log.offsets(topic)
  }
}

const itemPrefix = 'item-'
const itemIdOf = (item: number) => parseItemId(`${itemPrefix}${item}`)

interface OpenedLog {
  readonly environment: EmbeddedEnvironment
  readonly log: EmbeddedEventLog
  readonly codec: Awaited<ReturnType<typeof openMutationCodec>>
}

async function openLog(directory: string): Promise<OpenedLog> {
  const environment = await EmbeddedEnvironment.open({ directory, clock: Date.now })
  const log = new EmbeddedEventLog(environment)
  const schemas = writtenSchemas.map((written, id) => ({ ...written, id: id + 1 }))
  const codec = await openMutationCodec({
    byId: async id => schemas[id - 1]!,
    versions: async subject => schemas.filter(schema => schema.subject === subject),
  })
  await log.ensureTopic({
    name: topic,
    partitions: partitions.length,
    compacted: true,
    retentionMs: null,
    minCompactionLagMs: 3_600_000,
    tombstoneRetentionMs: 7 * 24 * 3_600_000,
  })
  return { environment, log, codec }
}
