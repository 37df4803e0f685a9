import { randomInt } from 'node:crypto'
import type { Meter } from '@opentelemetry/api'
import { PinnedSearch } from '../query-gateway/canary/pinned-search.ts'
import { defaultGatewayOptions } from '../query-gateway/gateway-options.ts'
import type { GatewayPorts } from '../query-gateway/ports.ts'
import type { SearchPorts } from '../query-gateway/visual-search.ts'
import type { Generation, ItemId } from '../schemas/ids.ts'
import { catalogTopic } from '../schemas/topics.ts'
import { readBounds } from '../topologies/generations/canary/canary-bounds.ts'
import type { CanaryGate } from '../topologies/generations/canary/canary-gate.ts'
import { CanaryRun } from '../topologies/generations/canary/canary-run.ts'
import { readEngagements } from '../topologies/generations/canary/engagement-history.ts'
import { sampleItems } from '../topologies/generations/canary/item-sample.ts'
import { seededRandom } from '../topologies/generations/canary/seeded-random.ts'
import type { Alarms } from './alarms.ts'
import { readLabelledSet } from './canary-labels.ts'
import { CanaryWatch } from './canary-watch.ts'
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
        itemIds: (count, seed, signal) => drawnItems(stored, { count, seed, signal }),
        partitions: stored.partitions,
        labelledSet: () => readLabelledSet(generations.goldenSet),
        engagements: (count, signal) =>
          readEngagements({ log: stored.log, codec: stored.codecs.engagement }, count, signal),
        bounds: () => (generations.canaryBounds === null ? readBounds() : readBounds(generations.canaryBounds)),
        seed: seed ?? randomInt(maxSeed),
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

export interface WatchParts extends Omit<CanaryParts, 'seed'> {
  readonly meter: Meter
  readonly alarms: Pick<Alarms, 'raise'>
}

/** Probes of a process that has a gateway; begun, but where they are turned off. */
export function startCanaryWatch({ config, search, stored, meter, alarms }: WatchParts): CanaryWatch {
  const watch = new CanaryWatch({
    ports: search,
    itemIds: (count, signal) => drawnItems(stored, { count, seed: randomInt(maxSeed), signal }),
    everyMs: config.generations.probeEveryMs,
    meter,
    onTrouble: error => alarms.raise('probes', error),
  })
  watch.start()
  return watch
}

const maxSeed = 2 ** 32

interface Draw {
  readonly count: number
  readonly seed: number
  readonly signal: AbortSignal
}

function drawnItems({ log }: CanaryParts['stored'], { count, seed, signal }: Draw): Promise<readonly ItemId[]> {
  return sampleItems(log, { topic: catalogTopic, count, random: seededRandom(seed), signal })
}
