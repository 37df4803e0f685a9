import type { ObservedGauge, Reading } from '../../query-gateway/observed-gauges.ts'
import type { DispatchStatus } from '../../topologies/dispatch/runner.ts'

type PartitionStatus = DispatchStatus['partitions'][number]
type Known = readonly DispatchStatus[]

/** The dispatchers of one process. */
export const dispatchGauges: readonly ObservedGauge<Known>[] = [
  {
    name: 'freshet.dispatch.lag_events',
    description: 'Events of the catalog not read yet',
    read: perPartition(({ lagRecords }) => lagRecords),
  },
  {
    name: 'freshet.dispatch.watermark_offset',
    description: 'Catalog offset up to which everything is applied; -1 before the first',
    read: perPartition(({ watermark }) => watermark),
  },
  {
    name: 'freshet.dispatch.pending_images',
    description: 'Events that wait for image work',
    read: perPartition(({ pendingImages }) => pendingImages),
  },
  {
    name: 'freshet.dispatch.oldest_pending_timestamp',
    unit: 's',
    description: 'When the oldest event that is not applied was accepted, since 1970',
    read: perPartition(({ oldestPendingTimeMs }) => (oldestPendingTimeMs === null ? null : oldestPendingTimeMs / 1000)),
  },
  {
    name: 'freshet.dispatch.partitions',
    description: 'Partitions that this process dispatches',
    read: perGeneration(({ partitions }) => partitions.length),
  },
  {
    name: 'freshet.dispatch.paused',
    description: '1 while reading the catalog is paused by backpressure, else 0',
    read: perGeneration(({ paused }) => (paused ? 1 : 0)),
  },
  {
    name: 'freshet.dispatch.since_start',
    description: 'Events read, jobs enqueued, items copied, dead letters written and results refused since the start',
    read: sinceStart,
  },
]

/** The age of the index as this process alone can tell it: of the oldest event that is not applied. */
export function dispatchAge(clock: () => number): ObservedGauge<Known> {
  return {
    name: 'freshet.dispatch.index_age',
    unit: 's',
    description: 'Age of the oldest event, of the partitions of this process, that is not applied',
    *read(statuses) {
      for (const { generation, partitions } of statuses) {
        const oldest = Math.min(...partitions.flatMap(({ oldestPendingTimeMs }) => oldestPendingTimeMs ?? []))
        yield [Number.isFinite(oldest) ? Math.max(0, clock() - oldest) / 1000 : 0, { generation }]
      }
    },
  }
}

function perPartition(measure: (status: PartitionStatus) => number | null) {
  return function* readings(statuses: Known): Generator<Reading> {
    for (const { generation, partitions } of statuses)
      for (const status of partitions) {
        const value = measure(status)
        if (value !== null) yield [value, { generation, partition: String(status.partition) }]
      }
  }
}

function perGeneration(measure: (status: DispatchStatus) => number) {
  return (statuses: Known): readonly Reading[] =>
    statuses.map(status => [measure(status), { generation: status.generation }])
}

function* sinceStart(statuses: Known): Generator<Reading> {
  for (const { generation, counts } of statuses)
    for (const kind of ['events', 'jobs', 'copied', 'deadLetters', 'refused'] as const)
      yield [counts[kind], { generation, of: kind }]
}
