import type { Status } from '../schemas/http-operations.ts'
import { catalogTopic } from '../schemas/topics.ts'
import type { GatewayPorts } from './ports.ts'
import type { RequestMeter } from './request-meter.ts'

/** Prometheus text exposition of the gateway's counts and the state of the index. */
export async function metricsText(ports: GatewayPorts, meter: RequestMeter, status: Status): Promise<string> {
  const ends = await ports.log.offsets(catalogTopic)
  const lines = [
    ...meter.lines(),
    ...gauge('freshet_ready', [['', status.ready ? 1 : 0]]),
    ...gauge('freshet_items', series('state', status.items)),
    ...gauge('freshet_index_age_seconds', [['', status.indexAgeMs / 1000]]),
    ...gauge('freshet_rate_per_second', series('of', status.rates)),
    ...gauge('freshet_queue_jobs', series('state', status.pipeline.queue)),
    ...gauge('freshet_dead_letters', [['', status.pipeline.deadLetters]]),
    ...gauge('freshet_alarms', [['', status.pipeline.alarms.length]]),
    ...gauge(
      'freshet_process_restarts',
      status.pipeline.processes.map(({ name, restarts }) => [labels({ process: name }), restarts]),
    ),
  ]
  const replicas = status.shards.flatMap(({ shard, replicas: views }) => views.map(view => ({ shard, view })))
  const of = (measure: (view: (typeof replicas)[number]['view']) => number): Series =>
    replicas.map(({ shard, view }) => [
      labels({ generation: view.generation, shard: String(shard), replica: view.id }),
      measure(view),
    ])
  lines.push(
    ...gauge(
      'freshet_replica_ready',
      of(({ state }) => (state === 'ready' ? 1 : 0)),
    ),
    ...gauge(
      'freshet_replica_index_age_seconds',
      of(({ indexAgeMs }) => indexAgeMs / 1000),
    ),
    ...gauge(
      'freshet_replica_watermark_lag_events',
      of(({ watermark }) => watermarkLag(watermark, ends)),
    ),
    ...gauge(
      'freshet_replica_rows',
      of(({ rows }) => rows),
    ),
    ...gauge(
      'freshet_replica_tombstones',
      of(({ tombstones }) => tombstones),
    ),
    ...gauge(
      'freshet_replica_memory_bytes',
      of(({ memoryBytes }) => memoryBytes),
    ),
  )
  return `${lines.join('\n')}\n`
}

type Series = readonly (readonly [labels: string, value: number])[]
type CatalogOffsets = Awaited<ReturnType<GatewayPorts['log']['offsets']>>

/** Records of the catalog above the watermark, over the partitions the replica follows. */
function watermarkLag(watermark: Readonly<Record<string, string>>, ends: CatalogOffsets): number {
  let lag = 0
  for (const [partition, { end }] of ends) {
    const reached = watermark[partition]
    if (reached !== undefined) lag += Math.max(0, end - 1 - Number(reached))
  }
  return lag
}

function* gauge(name: string, values: Series): Generator<string> {
  yield `# TYPE ${name} gauge`
  for (const [label, value] of values) yield `${name}${label} ${value}`
}

function series(label: string, values: Readonly<Record<string, number>>): Series {
  return Object.entries(values).map(([name, value]) => [labels({ [label]: name }), value])
}

function labels(values: Readonly<Record<string, string>>): string {
  const pairs = Object.entries(values).map(([name, value]) => `${name}="${escapeLabel(value)}"`)
  return `{${pairs.join(',')}}`
}

function escapeLabel(value: string): string {
  return value.replaceAll('\\', '\\\\').replaceAll('"', '\\"').replaceAll('\n', '\\n')
}
