import type { Meter } from '@opentelemetry/api'
import { type ObservedGauge, observeGauges, readingsBy } from '../query-gateway/observed-gauges.ts'
import type { FreshetError } from '../schemas/errors.ts'
import { asPartition } from '../schemas/ids.ts'
import { EngagementRunner, type EngagementStatus } from '../topologies/engagement/engagement-runner.ts'
import type { LogPorts, WorkPorts } from './storage.ts'

export interface EngagementPartOptions {
  readonly ports: LogPorts & Pick<WorkPorts, 'features'>
  /** `group`: those that the dispatchers share. */
  readonly partitions: 'all' | 'group'
  readonly onTrouble: (error: FreshetError) => void
  readonly meter: Meter
}

const gauges: readonly ObservedGauge<EngagementStatus>[] = [
  {
    name: 'freshet.engagement.partitions',
    description: 'Partitions of the engagement topic that this process counts, and of those the ones it has read',
    read: ({ assigned, current }) => readingsBy('state', { assigned, current }),
  },
  {
    name: 'freshet.engagement.items',
    description: 'Items with engagement, once by partition',
    read: ({ items }) => [[items, {}]],
  },
  {
    name: 'freshet.engagement.since_start',
    description: 'Records read, refused, and numbers of items written since the start',
    read: ({ counts }) => readingsBy('kind', counts),
  },
]

/** What counts engagements; not started. */
export function newEngagement({ ports, partitions, onTrouble, meter }: EngagementPartOptions): EngagementRunner {
  const all = Array.from({ length: ports.partitions }, (_, number) => asPartition(number))
  const runner = new EngagementRunner(
    { log: ports.log, codec: ports.codecs.engagement, features: ports.features },
    { partitions: partitions === 'all' ? all : 'group', onTrouble },
  )
  observeGauges(meter, gauges, () => runner.status())
  return runner
}
