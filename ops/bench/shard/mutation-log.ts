import { join } from 'node:path'
import { openMutationCodec, writtenSchemas } from '../../../schemas/avro/codec.ts'
import { asPartition, type ItemId, parseItemId } from '../../../schemas/ids.ts'
import { type Mutation, mutationKey, type RegisterMutation } from '../../../schemas/mutation.ts'
import { partitionOf } from '../../../schemas/partition.ts'
import type { RecordCodec } from '../../../schemas/record-codec.ts'
import { mutationTopic } from '../../../schemas/topics.ts'
import { decodeF16 } from '../../../schemas/unit-vector.ts'
import { attributesPut, generation, objectsPut } from '../../../shard-node/testing/shard-on-log.ts'
import { EmbeddedEventLog } from '../../../topologies/embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../../../topologies/embedded/environment.ts'
import { ClusteredData } from './clustered-data.ts'
import { RowSupply } from './row-supply.ts'

export interface UpsertOptions {
  readonly directory: string
  readonly dims: number
  readonly seed: number
  /** Upserts 0 to items - 1 are of new items; see `itemOf`. */
  readonly items: number
  readonly order: UpsertOrder
  /** Upserts that the log holds; beyond what was acknowledged there may be gaps. */
  readonly firstUpsert: number
}

/** What follows the first items: every item replaced in another order each time; or half new items, half replacements. */
export type UpsertOrder = 'replace-all' | 'half-new'

/** Odd and large, so coprime to most numbers of items. */
const stride = 7_368_787

/** The item that the upsert is of; its vector is the row of the data set with the upsert's number. */
export function itemOf(upsert: number, { items, order }: Pick<UpsertOptions, 'items' | 'order'>): number {
  if (upsert < items || (order === 'half-new' && upsert % 2 === 0)) return upsert
  const round = Math.floor(upsert / items)
  return ((upsert % items) * stride + round * 31) % items
}

const itemPrefix = 'item-'
export const itemIdOf = (item: number): ItemId => parseItemId(`${itemPrefix}${item}`)
export const itemOfId = (itemId: ItemId): number => Number(itemId.slice(itemPrefix.length))

export const partitions = [0, 1].map(asPartition)
const topic = mutationTopic(generation)
const upsertsPerAppend = 250

/** The embedded mutation log of a bench, and what writes it. */
export class MutationLog {
  readonly log: EmbeddedEventLog
  readonly codec: RecordCodec<Mutation>
  readonly #environment: EmbeddedEnvironment
  readonly #options: UpsertOptions
  readonly #supply: RowSupply
  #acknowledged: number

  private constructor(options: UpsertOptions, environment: EmbeddedEnvironment, codec: RecordCodec<Mutation>) {
    this.log = new EmbeddedEventLog(environment)
    this.codec = codec
    this.#environment = environment
    this.#options = options
    this.#supply = new RowSupply(new ClusteredData(options), options.firstUpsert)
    this.#acknowledged = options.firstUpsert
  }

  static async open(options: UpsertOptions): Promise<MutationLog> {
    const directory = join(options.directory, 'log')
    const environment = await EmbeddedEnvironment.open({ directory, clock: Date.now })
    const schemas = writtenSchemas.map((written, id) => ({ ...written, id: id + 1 }))
    const codec = await openMutationCodec({
      byId: async id => schemas[id - 1]!,
      versions: async subject => schemas.filter(schema => schema.subject === subject),
    })
    const opened = new MutationLog(options, environment, codec)
    await opened.log.ensureTopic({
      name: topic,
      partitions: partitions.length,
      compacted: true,
      retentionMs: null,
      minCompactionLagMs: 3_600_000,
      tombstoneRetentionMs: 7 * 24 * 3_600_000,
    })
    return opened
  }

  /** Upserts below are in the log. */
  get acknowledged(): number {
    return this.#acknowledged
  }

  /** Appends the next upserts: attributes and objects of each. Resolves when the log has them. */
  async upsert(count: number): Promise<void> {
    for (let done = 0; done < count; ) {
      const some = Math.min(count - done, upsertsPerAppend)
      const mutations = Array.from({ length: some }, () => this.#nextUpsert()).flat()
      await this.log.append(
        topic,
        mutations.map(mutation => ({
          partition: partitionOf(mutation.itemId, partitions.length),
          key: Buffer.from(mutationKey(mutation)),
          value: this.codec.encode(mutation),
        })),
      )
      done += some
      this.#acknowledged = this.#supply.nextRow
    }
  }

  /** Ends by partition. */
  ends(): ReturnType<EmbeddedEventLog['offsets']> {
    return this.log.offsets(topic)
  }

  async close(): Promise<void> {
    await this.log.close()
    await this.#environment.close()
  }

  #nextUpsert(): readonly RegisterMutation[] {
    const { row, vectors } = this.#supply.next()
    const itemId = itemIdOf(itemOf(row, this.#options))
    return [attributesPut(itemId, row), objectsPut(itemId, row, [decodeF16(vectors)])]
  }
}
