import type { Status } from '../schemas/http-operations.ts'
import { catalogTopic } from '../schemas/topics.ts'
import type { GatewayPorts } from './ports.ts'
import { gauge, labels, series } from './prometheus-text.ts'
import { replicaLines } from './replica-metrics.ts'
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
    ...replicaLines(status, ends),
  ]
  return `${lines.join('\n')}\n`
}
