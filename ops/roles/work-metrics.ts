import { type ObservedGauge, readingsBy } from '../../query-gateway/observed-gauges.ts'
import type { QueueDepth } from '../../topologies/work-queue.ts'
import type { WorkerLoopStatus } from '../../workers/worker-loop.ts'
import type { Alarm } from '../alarms.ts'
import type { ModelProcess } from '../image-roles.ts'

/** How the worker loop is. */
export const workerGauges: readonly ObservedGauge<WorkerLoopStatus>[] = [
  {
    name: 'freshet.work.jobs_in_flight',
    description: 'Jobs in hand',
    read: ({ inFlight }) => [[inFlight, {}]],
  },
  {
    name: 'freshet.work.since_start',
    description: 'Jobs done, failed for good, tried again and superseded since the start',
    read: ({ done, failed, retried, superseded }) => readingsBy('of', { done, failed, retried, superseded }),
  },
  {
    name: 'freshet.work.stage_seconds_since_start',
    description: 'Time spent in all stages of image work since the start',
    read: ({ stageMs }) => readingsBy('stage', { fetch: stageMs.fetch / 1000, model: stageMs.model / 1000 }),
  },
  {
    name: 'freshet.work.cache_lookups_since_start',
    description: 'Pictures that were found in the embedding cache, or not',
    read: ({ cache: { hits, misses } }) => readingsBy('of', { hits, misses }),
  },
]

/** The queue that all workers share; nothing while it cannot be asked. */
export const queueGauges: readonly ObservedGauge<QueueDepth | null>[] = [
  {
    name: 'freshet.queue.jobs',
    description: 'Jobs in the work queue: waiting by priority, delayed, claimed',
    read: depth =>
      depth === null ? [] : readingsBy('state', { ...depth.waiting, delayed: depth.delayed, claimed: depth.claimed }),
  },
]

/** What a worker cannot do and goes on without, such as holding a model whose golden vectors it misses. */
export const alarmGauges: readonly ObservedGauge<readonly Alarm[]>[] = [
  {
    name: 'freshet.alarms',
    description: 'Alarms that are raised now',
    read: alarms => [[alarms.length, {}]],
  },
]

export const processGauges: readonly ObservedGauge<readonly ModelProcess[]>[] = [
  {
    name: 'freshet.process_restarts',
    description: 'Restarts of child processes',
    read: processes => processes.map(({ name, restarts }) => [restarts, { process: name }]),
  },
]
