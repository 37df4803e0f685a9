import type { FastifyInstance } from 'fastify'
import { TableReplica } from '../../query-gateway/testing/table-replica.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { Heartbeat } from '../../schemas/heartbeat.ts'
import type { Partition } from '../../schemas/ids.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import type { ShardSearchRequest, ShardSearchResult } from '../../schemas/shard-api.ts'
import { HeartbeatWriter } from '../../shard-node/http/heartbeat-writer.ts'
import { createShardServer, type ServedReplica } from '../../shard-node/http/shard-server.ts'
import type { EventLog } from '../../topologies/event-log.ts'

/** A replica whose state and hits a test writes down. */
export class ServedTable extends TableReplica implements ServedReplica {
  searchBatch(requests: readonly ShardSearchRequest[]): Promise<readonly ShardSearchResult[]> {
    return Promise.all(requests.map(request => this.search(request)))
  }

  beginCut(): Promise<never> {
    return Promise.reject(new FreshetError('not-ready', 'a table has no cuts'))
  }

  cutItems(): Promise<never> {
    return this.beginCut()
  }

  cutBucket(): Promise<never> {
    return this.beginCut()
  }

  async endCut(): Promise<void> {}

  async checkpoint(): Promise<void> {}

  async exportTo(): Promise<void> {}
}

export interface ShardProcessOptions {
  readonly log: Pick<EventLog, 'append'>
  readonly codec: RecordCodec<Heartbeat>
  readonly replica: string
  readonly partitions: readonly Partition[]
  /** How wrong its clock is. */
  readonly skewMs?: number
}

/** What a shard role is to a gateway: an HTTP server and heartbeats. It can be killed. */
export class ShardProcess {
  readonly table: ServedTable
  readonly address: string
  readonly troubles: string[] = []
  readonly #server: FastifyInstance
  readonly #writer: HeartbeatWriter
  /** While false, the log does not take its heartbeats. */
  reachesLog = true
  #isKilled = false

  private constructor(table: ServedTable, server: FastifyInstance, address: string, options: ShardProcessOptions) {
    const { log, codec, skewMs = 0 } = options
    this.table = table
    this.#server = server
    this.address = address
    this.#writer = new HeartbeatWriter({
      log: { append: (topic, records) => this.#append(() => log.append(topic, records)) },
      codec,
      replicas: () => [table],
      address,
      clock: () => Date.now() + skewMs,
      onTrouble: ({ message }) => this.troubles.push(message),
      everyMs: 20,
    })
    this.#writer.start()
  }

  static async start(options: ShardProcessOptions): Promise<ShardProcess> {
    const { replica, partitions } = options
    const table = new ServedTable({ replica, partitions })
    const server = createShardServer({ replicas: () => [table], failure: () => null, secret: null })
    return new ShardProcess(table, server, await server.listen({ host: '127.0.0.1', port: 0 }), options)
  }

  /** As SIGTERM does. */
  async drain(): Promise<void> {
    await this.#writer.stop()
    await this.#server.close()
  }

  /** As SIGKILL does: no last words, connections are cut. */
  async kill(): Promise<void> {
    this.#isKilled = true
    const closed = this.#server.close()
    this.#server.server.closeAllConnections()
    await closed
    await this.#writer.stop()
  }

  async #append(append: () => ReturnType<EventLog['append']>): ReturnType<EventLog['append']> {
    if (this.#isKilled) return []
    if (!this.reachesLog) throw new Error('the log is away')
    return append()
  }
}
