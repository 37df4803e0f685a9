import type { Status } from '../schemas/http-operations.ts'
import type { GatewayPorts } from './ports.ts'
import { gauge, labels, type Series } from './prometheus-text.ts'

type ReplicaView = Status['shards'][number]['replicas'][number]
type CatalogOffsets = Awaited<ReturnType<GatewayPorts['log']['offsets']>>

/** A replica and the labels that name it. */
interface LabelledReplica {
  readonly names: Readonly<Record<string, string>>
  readonly view: ReplicaView
}

/** Every replica's measures; `ends` are the end offsets of the catalog. */
export function* replicaLines(status: Pick<Status, 'shards'>, ends: CatalogOffsets): Generator<string> {
  const replicas = status.shards.flatMap(({ shard, replicas: views }) =>
    views.map(view => ({
      names: { generation: view.generation, shard: String(shard), replica: view.id },
      view,
    })),
  )
  for (const [name, measure] of Object.entries(gauges))
    yield* gauge(`freshet_replica_${name}`, seriesOf(replicas, measure))
  yield* gauge(
    'freshet_replica_watermark_lag_events',
    seriesOf(replicas, ({ watermark }) => watermarkLag(watermark, ends)),
  )
  yield* searchTimes(replicas)
}

/** Null: the replica does not have the measure. */
const gauges: Readonly<Record<string, (view: ReplicaView) => number | null>> = {
  ready: ({ state }) => (state === 'ready' ? 1 : 0),
  index_age_seconds: ({ indexAgeMs }) => indexAgeMs / 1000,
  rows: ({ rows }) => rows,
  tombstones: ({ tombstones }) => tombstones,
  segments: ({ segments }) => segments,
  graphs: ({ storage }) => storage.graphs,
  scanned_rows: ({ storage }) => storage.scannedRows,
  memory_bytes: ({ memoryBytes }) => memoryBytes,
  vector_memory_bytes: ({ storage }) => storage.vectors.memoryBytes,
  item_memory_bytes: ({ storage }) => storage.items.memoryBytes,
  vector_disk_bytes: ({ storage }) => storage.vectors.diskBytes,
  item_disk_bytes: ({ storage }) => storage.items.diskBytes,
  memory_bytes_per_vector: ({ storage }) => storage.vectors.memoryPerVector,
  vector_norm_min: ({ vectors }) => vectors.normMin,
  vector_norm_max: ({ vectors }) => vectors.normMax,
  vector_norm_mean: ({ vectors }) => vectors.normMean,
  checkpoint_timestamp_seconds: ({ checkpoint }) =>
    checkpoint.writtenAtMs === null ? null : checkpoint.writtenAtMs / 1000,
  recall: ({ recall }) => recall?.measured ?? null,
  recall_samples: ({ recall }) => recall?.samples ?? null,
  search_effort: ({ recall }) => recall?.effort ?? null,
}

function seriesOf(replicas: readonly LabelledReplica[], measure: (view: ReplicaView) => number | null): Series {
  return replicas.flatMap(({ names, view }) => {
    const value = measure(view)
    return value === null ? [] : [[labels(names), value] as const]
  })
}

function* searchTimes(replicas: readonly LabelledReplica[]): Generator<string> {
  const name = 'freshet_replica_search_duration_seconds'
  yield `# TYPE ${name} histogram`
  for (const { names, view } of replicas) {
    const { buckets, sumMs, count } = view.searchMs
    for (const { upToMs, count: reached } of buckets)
      yield `${name}_bucket${labels({ ...names, le: upToMs === null ? '+Inf' : String(upToMs / 1000) })} ${reached}`
    yield `${name}_sum${labels(names)} ${sumMs / 1000}`
    yield `${name}_count${labels(names)} ${count}`
  }
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
