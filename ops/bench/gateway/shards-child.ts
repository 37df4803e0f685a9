import { createHash } from 'node:crypto'
import { mkdirSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import type { FastifyInstance } from 'fastify'
import { openMutationCodec, writtenSchemas } from '../../../schemas/avro/codec.ts'
import { asOffset, asPartition, asShardId, type ImageDigest, type ReplicaId } from '../../../schemas/ids.ts'
import { type Mutation, mutationKey } from '../../../schemas/mutation.ts'
import { partitionOf } from '../../../schemas/partition.ts'
import type { RecordCodec } from '../../../schemas/record-codec.ts'
import type { ShardSearchRequest } from '../../../schemas/shard-api.ts'
import { mutationTopic } from '../../../schemas/topics.ts'
import { decodeF16 } from '../../../schemas/unit-vector.ts'
import { createShardServer, type ServedReplica } from '../../../shard-node/http/shard-server.ts'
import { ShardNode } from '../../../shard-node/shard-node.ts'
import { acceptanceOf, attributesPut, generation, objectsPut } from '../../../shard-node/testing/shard-on-log.ts'
import { EmbeddedEventLog } from '../../../topologies/embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../../../topologies/embedded/environment.ts'
import { serveCalls } from '../shard/child-calls.ts'
import { ClusteredData, randomBits } from '../shard/clustered-data.ts'
import { dims, partitionsOf, seed, shardCount } from './gateway-scene.ts'

export interface ShardsOptions {
  readonly directory: string
  readonly replica: string
  readonly rows: number
}

/** Some answers are held back. */
export interface Delays {
  /** Of all, 0 to 1. */
  readonly share: number
  readonly ms: number
}

/** One search of one shard as the shard itself sees it: without HTTP, and without what its answer is written as. */
export interface OwnTime {
  readonly shard: number
  /** Ms since 1970, of a clock that does not jump. */
  readonly beganAtMs: number
  readonly tookMs: number
}

const partitionCount = 2 * shardCount
const topic = mutationTopic(generation)
const itemsPerAppend = 250

/** One replica of each shard, real ones behind a real shard server, in a process of its own. */
class ShardsProcess {
  #log: EmbeddedEventLog | null = null
  #codec: RecordCodec<Mutation> | null = null
  #nodes: readonly ShardNode[] = []
  #server: FastifyInstance | null = null
  #delays: Delays = { share: 0, ms: 0 }
  #random: () => number = () => 0
  #searches = 0
  #latestK = 0
  #ownTimes: OwnTime[] = []

  /** Resolves with its address once all rows are searched. */
  async open({ directory, replica, rows }: ShardsOptions): Promise<string> {
    mkdirSync(directory, { recursive: true })
    this.#random = randomBits(replica.charCodeAt(0))
    await this.#openLog(directory)
    await this.#append(rows)
    this.#nodes = await Promise.all(
      Array.from({ length: shardCount }, (_, shard) => this.#openNode(directory, shard, `${replica}-${shard}`)),
    )
    await this.#caughtUp()
    const replicas = this.#nodes.map((node, shard) => this.#served(node, shard))
    this.#server = createShardServer({ replicas: () => replicas, failure: () => null, secret: null })
    return this.#server.listen({ host: '127.0.0.1', port: 0 })
  }

  /** All is applied as of this time. */
  async watermark(writtenAtMs: number): Promise<void> {
    const marks = Array.from(
      { length: partitionCount },
      (_, partition): Mutation => ({
        type: 'Watermark',
        partition: asPartition(partition),
        offset: asOffset(10_000_000),
        oldestPendingTimeMs: null,
        endOffset: asOffset(10_000_001),
        writtenAtMs,
      }),
    )
    await this.#log!.append(
      topic,
      marks.map(mark => this.#recordOf(mark)),
    )
    await this.#caughtUp()
  }

  delay(delays: Delays): void {
    this.#delays = delays
  }

  /** Searches asked of it so far. */
  searches(): number {
    return this.#searches
  }

  /** Results that were asked for last. */
  latestK(): number {
    return this.#latestK
  }

  /** Of the searches since the last call. */
  takeOwnTimes(): readonly OwnTime[] {
    return this.#ownTimes.splice(0)
  }

  /** Of each shard, of its latest searches, ms. */
  async p50s(): Promise<readonly number[]> {
    return Promise.all(this.#nodes.map(async node => (await node.status()).searchMs.p50))
  }

  cpuMs(): number {
    const { user, system } = process.cpuUsage()
    return (user + system) / 1_000
  }

  async #openLog(directory: string): Promise<void> {
    const environment = await EmbeddedEnvironment.open({ directory: join(directory, 'log'), clock: Date.now })
    this.#log = new EmbeddedEventLog(environment)
    const schemas = writtenSchemas.map((written, id) => ({ ...written, id: id + 1 }))
    this.#codec = await openMutationCodec({
      byId: async id => schemas[id - 1]!,
      versions: async subject => schemas.filter(schema => schema.subject === subject),
    })
    await this.#log.ensureTopic({
      name: topic,
      partitions: partitionCount,
      compacted: true,
      retentionMs: null,
      minCompactionLagMs: 3_600_000,
      tombstoneRetentionMs: 7 * 24 * 3_600_000,
    })
  }

  async #append(rows: number): Promise<void> {
    const data = new ClusteredData({ seed, dims })
    for (let first = 0; first < rows; first += itemsPerAppend) {
      const { encoded } = data.block(first, Math.min(itemsPerAppend, rows - first))
      const mutations = Array.from({ length: encoded.length / (2 * dims) }, (_, i) =>
        upsertOf(first + i, decodeF16(encoded.slice(i * 2 * dims, (i + 1) * 2 * dims))),
      )
      await this.#log!.append(
        topic,
        mutations.flat().map(mutation => this.#recordOf(mutation)),
      )
    }
  }

  #recordOf(mutation: Mutation) {
    return {
      partition: mutation.type === 'Watermark' ? mutation.partition : partitionOf(mutation.itemId, partitionCount),
      key: Buffer.from(mutationKey(mutation)),
      value: this.#codec!.encode(mutation),
    }
  }

  #openNode(directory: string, shard: number, replica: string): Promise<ShardNode> {
    return ShardNode.open({
      directory: join(directory, `shard-${shard}`),
      log: this.#log!,
      codec: this.#codec!,
      generation,
      acceptance: acceptanceOf(dims),
      shard: asShardId(shard),
      replica: replica as ReplicaId,
      partitions: partitionsOf(shard),
      clock: Date.now,
      onFailure: error => {
        throw error
      },
      onAlarm: error => process.stderr.write(`  alarm: ${error.message}\n`),
      tuning: { checkpointEveryMs: null, recall: null, index: { threads: 1 } },
    })
  }

  async #caughtUp(): Promise<void> {
    for (const [partition, { end }] of await this.#log!.offsets(topic))
      await this.#nodes[partition % shardCount]!.reached(asPartition(partition), end)
  }

  /** The node, with answers that are sometimes held back. */
  #served(node: ShardNode, shard: number): ServedReplica {
    const search = async (request: ShardSearchRequest, signal?: AbortSignal) => {
      this.#searches++
      this.#latestK = request.k
      const { share, ms } = this.#delays
      if (share > 0 && this.#random() / 2 ** 32 < share) await pause(ms, undefined, signal ? { signal } : {})
      const beganAt = performance.now()
      const answer = await node.search(request, signal)
      const tookMs = performance.now() - beganAt
      this.#ownTimes.push({ shard, beganAtMs: performance.timeOrigin + beganAt, tookMs })
      return answer
    }
    return new Proxy(node, {
      get: (_, name) => {
        if (name === 'search') return search
        const value: unknown = Reflect.get(node, name, node)
        return typeof value === 'function' ? value.bind(node) : value
      },
    })
  }
}

export type { ShardsProcess }

function upsertOf(row: number, vector: Float32Array): readonly Mutation[] {
  const id = `item-${row}`
  const attributes = {
    title: `Product number ${row} of a catalogue`,
    category: `category-${row % 20}`,
    price: (row % 500) + 0.99,
    regions: ['de', 'fr'],
    attributes: { colour: row % 2 ? 'red' : 'blue', seats: row % 5 },
  }
  const imageDigests = [createHash('sha256').update(id).digest('hex') as ImageDigest]
  return [attributesPut(id, row, attributes), { ...objectsPut(id, row, [vector]), imageDigests } as Mutation]
}

serveCalls(new ShardsProcess())
