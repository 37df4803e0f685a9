import type { Status } from '../schemas/http-operations.ts'
import type { ObservedGauge, Reading } from './observed-gauges.ts'
import type { GatewayPorts } from './ports.ts'

type ReplicaView = Status['shards'][number]['replicas'][number]
type CatalogOffsets = Awaited<ReturnType<GatewayPorts['log']['offsets']>>

/** Every replica, and where the catalog ends. */
export interface KnownReplicas {
  readonly shards: Status['shards']
  readonly ends: CatalogOffsets
}

/** Null: the replica does not have the measure. */
type Measure = (view: ReplicaView) => number | null

const measures: readonly (readonly [name: string, unit: string, description: string, measure: Measure])[] = [
  ['ready', '', '1 when the replica answers searches, else 0', ({ state }) => (state === 'ready' ? 1 : 0)],
  ['index_age', 's', 'Age of the oldest event that is not searchable yet', ({ indexAgeMs }) => indexAgeMs / 1000],
  ['rows', '', 'Vectors that can be found', ({ rows }) => rows],
  ['tombstones', '', 'Rows of removed or replaced objects that still take room', ({ tombstones }) => tombstones],
  ['segments', '', 'Segments of the index', ({ segments }) => segments],
  ['graphs', '', 'Segments with a graph', ({ storage }) => storage.graphs],
  ['scanned_rows', '', 'Rows in segments without a graph', ({ storage }) => storage.scannedRows],
  ['memory', 'By', 'Memory of vectors and items', ({ memoryBytes }) => memoryBytes],
  ['vector.memory', 'By', 'Memory of vectors', ({ storage }) => storage.vectors.memoryBytes],
  ['item.memory', 'By', 'Memory of items', ({ storage }) => storage.items.memoryBytes],
  ['vector.disk', 'By', 'Disk that vectors take', ({ storage }) => storage.vectors.diskBytes],
  ['item.disk', 'By', 'Disk that items take', ({ storage }) => storage.items.diskBytes],
  ['memory_bytes_per_vector', '', 'Memory by vector, bytes', ({ storage }) => storage.vectors.memoryPerVector],
  ['vector_norm_min', '', 'Least length of a vector', ({ vectors }) => vectors.normMin],
  ['vector_norm_max', '', 'Greatest length of a vector', ({ vectors }) => vectors.normMax],
  ['vector_norm_mean', '', 'Mean length of the vectors', ({ vectors }) => vectors.normMean],
  ['checkpoint_timestamp', 's', 'When the newest checkpoint was written, since 1970', checkpointSeconds],
  [
    'recall',
    '',
    'Share of the true neighbours that live searches found, 0 to 1',
    ({ recall }) => recall?.measured ?? null,
  ],
  ['recall_samples', '', 'Live searches that were answered exactly too', ({ recall }) => recall?.samples ?? null],
  ['search_effort', '', 'Graph candidates asked of a segment of 200,000 rows', ({ recall }) => recall?.effort ?? null],
]

/** Every replica's measures. */
export const replicaGauges: readonly ObservedGauge<KnownReplicas>[] = [
  ...measures.map(([name, unit, description, measure]) => ({
    name: `freshet.replica.${name}`,
    unit,
    description,
    read: ({ shards }: KnownReplicas) => readingsOf(shards, measure),
  })),
  {
    name: 'freshet.replica.watermark_lag_events',
    description: 'Events of the catalog above the watermark, over the partitions the replica follows',
    read: ({ shards, ends }) => readingsOf(shards, ({ watermark }) => watermarkLag(watermark, ends)),
  },
]

function* readingsOf(shards: Status['shards'], measure: Measure): Generator<Reading> {
  for (const { shard, replicas } of shards)
    for (const view of replicas) {
      const value = measure(view)
      if (value !== null) yield [value, { generation: view.generation, shard: String(shard), replica: view.id }]
    }
}

function checkpointSeconds({ checkpoint: { writtenAtMs } }: ReplicaView): number | null {
  return writtenAtMs === null ? null : writtenAtMs / 1000
}

/** Records of the catalog above the watermark, over the partitions the replica follows. */
function watermarkLag(watermark: Readonly<Record<string, string>>, ends: CatalogOffsets): number {
  let lag = 0
  for (const [partition, { end }] of ends) {
    const reached = watermark[partition]
    if (reached !== undefined) lag += Math.max(0, end - 1 - Number(reached))
  }
  return lag
}
