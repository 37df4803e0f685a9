import type { FreshetError } from '../schemas/errors.ts'
import { asPartition } from '../schemas/ids.ts'
import { EngagementRunner } from '../topologies/engagement/engagement-runner.ts'
import type { LogPorts, WorkPorts } from './storage.ts'

export interface EngagementPartOptions {
  readonly ports: LogPorts & Pick<WorkPorts, 'features'>
  /** `group`: those that the dispatchers share. */
  readonly partitions: 'all' | 'group'
  readonly onTrouble: (error: FreshetError) => void
}

/** What counts engagements; not started. */
export function newEngagement({ ports, partitions, onTrouble }: EngagementPartOptions): EngagementRunner {
  const all = Array.from({ length: ports.partitions }, (_, number) => asPartition(number))
  return new EngagementRunner(
    { log: ports.log, codec: ports.codecs.engagement, features: ports.features },
    { partitions: partitions === 'all' ? all : 'group', onTrouble },
  )
}
