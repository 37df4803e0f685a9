import { lstatSync, readdirSync } from 'node:fs'
import { join } from 'node:path'
import { asShardId, type ReplicaId } from '../../../schemas/ids.ts'
import { ShardNode } from '../../../shard-node/shard-node.ts'
import type { ShardTuning } from '../../../shard-node/shard-node-options.ts'
import { acceptanceOf, generation } from '../../../shard-node/testing/shard-on-log.ts'
import { note } from '../scratch.ts'
import type { LiveRows } from './bench-index.ts'
import { ClusteredData } from './clustered-data.ts'
import { itemIdOf, itemOf, itemOfId, MutationLog, partitions, type UpsertOptions } from './mutation-log.ts'

export interface BenchNodeOptions extends UpsertOptions {
  readonly tuning?: Partial<ShardTuning>
}

/** A real shard node that follows a real log in the same process, as on one machine, and the writer of that log. */
export class BenchNode {
  readonly node: ShardNode
  readonly log: MutationLog
  readonly data: ClusteredData
  readonly #options: BenchNodeOptions

  private constructor(options: BenchNodeOptions, log: MutationLog, node: ShardNode) {
    this.#options = options
    this.log = log
    this.node = node
    this.data = new ClusteredData(options)
  }

  /** Resolves when everything in the log is searchable. */
  static async open(options: BenchNodeOptions): Promise<BenchNode> {
    const log = await MutationLog.open(options)
    const node = await ShardNode.open({
      directory: join(options.directory, 'shard'),
      log: log.log,
      codec: log.codec,
      generation,
      acceptance: acceptanceOf(options.dims),
      shard: asShardId(0),
      replica: 'bench' as ReplicaId,
      partitions,
      clock: Date.now,
      onFailure: error => {
        throw error
      },
      onAlarm: error => note(`alarm: ${error.message}`),
      ...(options.tuning === undefined ? {} : { tuning: options.tuning }),
    })
    const bench = new BenchNode(options, log, node)
    await bench.caughtUp()
    return bench
  }

  /** Resolves when everything in the log is searchable. */
  async caughtUp(): Promise<void> {
    for (const [partition, { end }] of await this.log.ends()) await this.node.reached(partition, end)
  }

  /** Items found, best first. */
  async search(vector: Float32Array, k: number): Promise<Uint32Array> {
    const { fingerprint } = acceptanceOf(this.#options.dims)
    const { hits } = await this.node.search({ generation, fingerprint, vector, k })
    return Uint32Array.from(hits, ({ itemId }) => itemOfId(itemId))
  }

  /** Whether the upsert, or a later one of its item, is searched. */
  async holds(upsert: number): Promise<boolean> {
    const { objects, searchable } = await this.node.registers(itemIdOf(itemOf(upsert, this.#options)))
    return searchable && objects >= upsert
  }

  /** Every item with the row of its latest upsert. */
  liveRows(): LiveRows {
    const rows = new Map<number, number>()
    for (let upsert = 0; upsert < this.log.acknowledged; upsert++) rows.set(itemOf(upsert, this.#options), upsert)
    return { items: Uint32Array.from(rows.keys()), rows: Uint32Array.from(rows.values()) }
  }

  /** Bytes that the shard takes on disk, the log not counted. */
  diskBytes(): number {
    const folder = join(this.#options.directory, 'shard')
    return readdirSync(folder, { recursive: true, encoding: 'utf8' })
      .map(name => lstatSync(join(folder, name), { throwIfNoEntry: false }))
      .reduce((total, entry) => total + (entry?.isFile() ? entry.blocks * 512 : 0), 0)
  }

  async close(): Promise<void> {
    await this.node.close()
    await this.log.close()
  }
}
