import type { Status } from '../schemas/http-operations.ts'
import { type ObservedGauge, type Reading, readingsBy } from './observed-gauges.ts'
import { type KnownReplicas, replicaGauges } from './replica-metrics.ts'

/** What the gateway's status tells, and where the catalog ends. */
export interface KnownStatus extends KnownReplicas {
  readonly status: Status
}

const one = (value: number): readonly Reading[] => [[value, {}]]

/** The state of the index and the pipeline as gauges. */
export const statusGauges: readonly ObservedGauge<KnownStatus>[] = [
  {
    name: 'freshet.ready',
    description: '1 when every shard of a generation with queries, whose model is held, has a replica that is ready',
    read: ({ status }) => one(status.ready ? 1 : 0),
  },
  {
    name: 'freshet.items',
    description: 'Items of the generation with the largest share, by state',
    read: ({ status }) => readingsBy('state', status.items),
  },
  {
    name: 'freshet.index_age',
    unit: 's',
    description: 'Age of the oldest event that is not searchable yet',
    read: ({ status }) => one(status.indexAgeMs / 1000),
  },
  {
    name: 'freshet.generation.share',
    description: 'Share of the queries, 0 to 1, by generation and its state',
    read: ({ status }) => status.generations.map(({ id, state, share }) => [share, { generation: id, state }]),
  },
  {
    name: 'freshet.generation.index_age',
    unit: 's',
    description: 'Age of the oldest event that is not searchable in a generation; nothing while a shard has no replica',
    read: ({ status }) =>
      status.generations.flatMap(({ id, indexAgeMs }): readonly Reading[] =>
        indexAgeMs === null || indexAgeMs === undefined ? [] : [[indexAgeMs / 1_000, { generation: id }]],
      ),
  },
  {
    name: 'freshet.generation.held',
    description: '1 when this gateway has the model of a generation, else 0: pictures of its queries go elsewhere',
    read: ({ status }) => status.generations.map(({ id, held }) => [held === true ? 1 : 0, { generation: id }]),
  },
  {
    name: 'freshet.rate_per_second',
    description: 'Rates over the last ten seconds',
    read: ({ status }) => readingsBy('of', status.rates),
  },
  {
    name: 'freshet.queue.jobs',
    description: 'Jobs in the work queue: waiting by priority, delayed, claimed',
    read: ({ status }) => readingsBy('state', status.pipeline.queue),
  },
  {
    name: 'freshet.dead_letters',
    description: 'Dead letters that nobody has handled yet',
    read: ({ status }) => one(status.pipeline.deadLetters),
  },
  {
    name: 'freshet.alarms',
    description: 'Alarms that are raised now',
    read: ({ status }) => one(status.pipeline.alarms.length),
  },
  {
    name: 'freshet.process_restarts',
    description: 'Restarts of child processes',
    read: ({ status }) => status.pipeline.processes.map(({ name, restarts }) => [restarts, { process: name }]),
  },
  ...replicaGauges,
]
