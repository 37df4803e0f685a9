import { gauge, labels } from '../../query-gateway/prometheus-text.ts'
import type { DispatchStatus } from '../../topologies/dispatch/runner.ts'

type PartitionStatus = DispatchStatus['partitions'][number]

/** Prometheus text of the dispatchers of one process. */
export function dispatchMetrics(statuses: readonly DispatchStatus[]): string {
  const perPartition = (measure: (status: PartitionStatus) => number | null) =>
    statuses.flatMap(({ generation, partitions }) =>
      partitions.flatMap(status => {
        const value = measure(status)
        return value === null ? [] : [[labels({ generation, partition: String(status.partition) }), value] as const]
      }),
    )
  const perGeneration = (measure: (status: DispatchStatus) => number) =>
    statuses.map(status => [labels({ generation: status.generation }), measure(status)] as const)
  const counted = ['events', 'jobs', 'deadLetters', 'refused'] as const
  const lines = [
    ...gauge(
      'freshet_dispatch_lag_events',
      perPartition(({ lagRecords }) => lagRecords),
    ),
    ...gauge(
      'freshet_dispatch_watermark_offset',
      perPartition(({ watermark }) => watermark),
    ),
    ...gauge(
      'freshet_dispatch_pending_images',
      perPartition(({ pendingImages }) => pendingImages),
    ),
    ...gauge(
      'freshet_dispatch_oldest_pending_timestamp_seconds',
      perPartition(({ oldestPendingTimeMs }) => (oldestPendingTimeMs === null ? null : oldestPendingTimeMs / 1000)),
    ),
    ...gauge(
      'freshet_dispatch_partitions',
      perGeneration(({ partitions }) => partitions.length),
    ),
    ...gauge(
      'freshet_dispatch_paused',
      perGeneration(({ paused }) => (paused ? 1 : 0)),
    ),
    ...gauge(
      'freshet_dispatch_since_start',
      statuses.flatMap(({ generation, counts }) =>
        counted.map(of => [labels({ generation, of }), counts[of]] as const),
      ),
    ),
  ]
  return `${lines.join('\n')}\n`
}
