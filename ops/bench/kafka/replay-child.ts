import { join } from 'node:path'
import { Index, MetricKind, ScalarKind } from 'usearch'
import { openMutationCodec, writtenSchemas } from '../../../schemas/avro/codec.ts'
import { asPartition, asShardId, type Partition, parseItemId, type ReplicaId } from '../../../schemas/ids.ts'
import { type Mutation, mutationKey } from '../../../schemas/mutation.ts'
import { partitionOf } from '../../../schemas/partition.ts'
import type { RecordCodec } from '../../../schemas/record-codec.ts'
import { mutationTopic } from '../../../schemas/topics.ts'
import { decodeF16 } from '../../../schemas/unit-vector.ts'
import { standardTuning } from '../../../shard-node/segments/index-tuning.ts'
import { ShardNode } from '../../../shard-node/shard-node.ts'
import { acceptanceOf, attributesPut, generation, objectsPut } from '../../../shard-node/testing/shard-on-log.ts'
import { KafkaEventLog } from '../../../topologies/kafka/kafka-event-log.ts'
import { serveCalls } from '../shard/child-calls.ts'
import { ClusteredData } from '../shard/clustered-data.ts'
import { RowSupply } from '../shard/row-supply.ts'

export interface ReplayOptions {
  readonly brokers: readonly string[]
  readonly directory: string
  readonly rows: number
  readonly dims: number
  readonly seed: number
}

export interface Replayed {
  readonly seconds: number
  /** Until the last record was applied, and so searched. */
  readonly appliedSeconds: number
  readonly rows: number
  readonly graphs: number
  /** Rows that are searched by their codes. */
  readonly scannedRows: number
}

const partitions: readonly Partition[] = Array.from({ length: 8 }, (_, i) => asPartition(i))
const topic = mutationTopic(generation)
const itemsPerAppend = 250
const rowsPerAdd = 1_000

/** One of these a process, so that each run starts from nothing. */
class ReplayProcess {
  /** Attributes and objects of every item, one vector each. */
  async write({ brokers, rows, dims, seed }: ReplayOptions): Promise<void> {
    const log = new KafkaEventLog({ brokers, clientId: 'bench' })
    const codec = await localCodec()
    await log.ensureTopic({
      name: topic,
      partitions: partitions.length,
      compacted: true,
      retentionMs: null,
      minCompactionLagMs: 3_600_000,
      tombstoneRetentionMs: 0,
    })
    const supply = new RowSupply(new ClusteredData({ seed, dims }), 0)
    while (supply.nextRow < rows) {
      const mutations = Array.from({ length: Math.min(itemsPerAppend, rows - supply.nextRow) }, () => {
        const { row, vectors } = supply.next()
        const itemId = parseItemId(`item-${row}`)
        return [attributesPut(itemId, row), objectsPut(itemId, row, [decodeF16(vectors)])]
      }).flat()
      await log.append(
        topic,
        mutations.map(mutation => ({
          partition: partitionOf(mutation.itemId, partitions.length),
          key: Buffer.from(mutationKey(mutation)),
          value: codec.encode(mutation),
        })),
      )
    }
    await log.close()
  }

  /** A shard without a checkpoint follows the log from its start, until all is applied and nothing is left to merge. */
  async replay({ brokers, directory, dims }: ReplayOptions): Promise<Replayed> {
    const log = new KafkaEventLog({ brokers, clientId: 'bench' })
    const codec = await localCodec()
    const ends = await log.offsets(topic)
    const began = performance.now()
    const node = await ShardNode.open({
      directory: join(directory, `replay-${process.pid}`),
      log,
      codec,
      generation,
      acceptance: acceptanceOf(dims),
      shard: asShardId(0),
      replica: 'bench' as ReplicaId,
      partitions,
      clock: Date.now,
      onFailure: error => {
        throw error
      },
      onAlarm: error => process.stderr.write(`alarm: ${error.message}\n`),
    })
    for (const [partition, { end }] of ends) await node.reached(partition, end)
    const appliedSeconds = (performance.now() - began) / 1_000
    await node.settled()
    const seconds = (performance.now() - began) / 1_000
    const { rows, storage } = await node.status()
    await node.close()
    await log.close()
    return { seconds, appliedSeconds, rows, graphs: storage.graphs, scannedRows: storage.scannedRows }
  }

  /** The library's graph of the same vectors, of the kind and with the settings that shards have. Seconds. */
  async buildBare({ rows, dims, seed }: ReplayOptions): Promise<number> {
    const { vectors } = new ClusteredData({ seed, dims }).block(0, rows)
    const index = new Index({
      dimensions: dims,
      metric: MetricKind.Cos,
      quantization: ScalarKind.I8,
      connectivity: standardTuning.connectivity,
      expansion_add: standardTuning.expansionAdd,
      expansion_search: 16,
      multi: false,
    })
    const began = performance.now()
    for (let row = 0; row < rows; row += rowsPerAdd) {
      const count = Math.min(rowsPerAdd, rows - row)
      const keys = BigUint64Array.from({ length: count }, (_, i) => BigInt(row + i))
      index.add(keys, vectors.subarray(row * dims, (row + count) * dims), 1)
    }
    return (performance.now() - began) / 1_000
  }
}

/** No registry: what is written here is read here. */
function localCodec(): Promise<RecordCodec<Mutation>> {
  const schemas = writtenSchemas.map((written, id) => ({ ...written, id: id + 1 }))
  return openMutationCodec({
    byId: async id => schemas[id - 1]!,
    versions: async subject => schemas.filter(schema => schema.subject === subject),
  })
}

export type { ReplayProcess }

serveCalls(new ReplayProcess())
