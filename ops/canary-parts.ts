import { randomInt } from 'node:crypto'
import { PinnedSearch } from '../query-gateway/canary/pinned-search.ts'
import { defaultGatewayOptions } from '../query-gateway/gateway-options.ts'
import type { GatewayPorts } from '../query-gateway/ports.ts'
import type { SearchPorts } from '../query-gateway/visual-search.ts'
import type { Generation } from '../schemas/ids.ts'
import { catalogTopic } from '../schemas/topics.ts'
import { readBounds } from '../topologies/generations/canary/canary-bounds.ts'
import type { CanaryGate } from '../topologies/generations/canary/canary-gate.ts'
import { CanaryRun } from '../topologies/generations/canary/canary-run.ts'
import { readEngagements } from '../topologies/generations/canary/engagement-history.ts'
import { sampleItems } from '../topologies/generations/canary/item-sample.ts'
import { seededRandom } from '../topologies/generations/canary/seeded-random.ts'
import { readLabelledSet } from './canary-labels.ts'
import type { Config } from './config.ts'
import { gatewayLimits } from './gateway-parts.ts'
import { searchOptions } from './search-options.ts'
import type { LogPorts } from './storage.ts'

export interface CanaryParts {
  readonly config: Config
  /** Those of the gateway in this process: the same models, replicas and pictures as its users'. */
  readonly search: SearchPorts & Pick<GatewayPorts, 'routing' | 'modelOf'>
  readonly stored: Pick<LogPorts, 'log' | 'codecs' | 'partitions'>
  /** Of the draw of the questions; by default another one with each run. */
  readonly seed?: number
}

/** The canary gate of a process that has a gateway. */
export function newCanaryGate({ config, search, stored, seed }: CanaryParts): CanaryGate {
  const { generations } = config
  return {
    run: async options => {
      const pinned = new PinnedSearch(search, {
        ...defaultGatewayOptions,
        ...gatewayLimits(config),
        ...searchOptions(config),
      })
      const gate = new CanaryRun({
        search: (question, signal) => pinned.search(question, signal),
        replicas: search.replicas,
        generation: name => routeOf(search, name),
        itemIds: (count, seed, signal) =>
          sampleItems(stored.log, { topic: catalogTopic, count, random: seededRandom(seed), signal }),
        partitions: stored.partitions,
        labelledSet: () => readLabelledSet(generations.goldenSet),
        engagements: (count, signal) =>
          readEngagements({ log: stored.log, codec: stored.codecs.engagement }, count, signal),
        bounds: () => (generations.canaryBounds === null ? readBounds() : readBounds(generations.canaryBounds)),
        seed: seed ?? randomInt(2 ** 32),
        clock: search.clock,
        monotonicMs: () => performance.now(),
      })
      return gate.run(options)
    },
  }
}

function routeOf({ routing }: Pick<GatewayPorts, 'routing'>, name: Generation) {
  return routing().find(({ generation }) => generation === name)
}
