import { seededRandom } from '../../../shard-node/testing/seeded-random.ts'
import { FaultInstallation } from '../faults/fault-installation.ts'
import { orAborted } from '../faults/or-aborted.ts'
import { beyondStubs, writeBounds } from './canary-bounds.ts'
import { stubMixture } from './stub-mixture.ts'
import { type Kill, SwitchKiller, type Victims } from './switch-killer.ts'
import { runSwitch, type SwitchOutcome, switchMoments } from './switch-scenario.ts'

export interface SwitchWithKillsOptions {
  /** For files of the run. */
  readonly directory: string
  readonly seed: number
  readonly victims: Victims
  readonly note: (line: string) => void
  /** Ends it, and what it runs on. */
  readonly signal?: AbortSignal
}

export interface KilledSwitch extends SwitchOutcome {
  readonly kills: readonly Kill[]
  /** Calls of shoppers and of the catalogue service that were made again, since their gateway was killed. */
  readonly resent: number
}

/** Each role once: what `npm test` has time for. */
export const eachRoleOnce: Victims = {
  building: ['work-1', 'dispatch-1'],
  proving: ['shard-a'],
  '5%': ['gateway'],
  '50%': ['shard-b'],
  undone: ['gateway'],
  retiring: ['dispatch-2'],
}

/** Every role at every moment; of two dispatchers and workers now the one, now the other. */
export const everyRoleAlways: Victims = Object.fromEntries(
  switchMoments.map((moment, i) => {
    const turn = (i % 2) + 1
    return [moment, ['gateway', `dispatch-${turn}`, 'shard-a', `work-${turn}`, 'shard-b']]
  }),
)

/**
 * The scenario on Kafka and Redis with two gateways, and with kills in it.
 * @throws Error when it does not come to its end; the signal's reason
 */
export async function runSwitchWithKills(options: SwitchWithKillsOptions): Promise<KilledSwitch> {
  const { directory, seed, victims, note, signal } = options
  const installation = await FaultInstallation.start({
    name: 'switch',
    brokers: 1,
    kafkaSettings: {},
    gateways: 2,
    env: {
      FRESHET_GENERATIONS_CANARY_BOUNDS: writeBounds(directory, beyondStubs),
      // Servers, roles and the test share a few cores, and a dead replica's searches go to the other one, also where that
      // one is behind by seconds: no answer shall be less than whole because of that.
      FRESHET_LIMITS_DEADLINE_MS: '60s',
      FRESHET_SEARCH_SHARD_TIMEOUT_MS: '30s',
      FRESHET_SEARCH_FEATURES_MS: '30s',
      FRESHET_SEARCH_MAX_REPLICA_LAG_MS: '60s',
      FRESHET_SEARCH_EXTRA_PERCENT: '100',
    },
  })
  try {
    const killer = new SwitchKiller({ installation, victims, random: seededRandom(seed + 1), note })
    const running = runSwitch({
      client: killer.gateways.client,
      items: itemsOf(installation),
      model: 'stub-b',
      random: seededRandom(seed),
      eventsPerSecond: 50,
      shoppers: 4,
      pauseMs: 50,
      mixture: stubMixture,
      withinMs: 600_000,
      // Far more than they take: how long it is, is for the bench to say.
      heardWithinMs: 10_000,
      note,
      trouble: moment => killer.strike(moment),
    })
    const outcome = await orAborted(running, signal)
    return { ...outcome, kills: killer.kills, resent: killer.gateways.resent }
  } finally {
    await installation.stop()
  }
}

function itemsOf({ pictures }: FaultInstallation) {
  return pictures.map(({ reference }, number) => ({
    itemId: `item ${number}`,
    images: [reference],
    title: `item ${number}`,
    category: `shelf ${number % 5}`,
    price: number,
    currency: 'EUR',
    regions: ['de'],
    available: true,
    attributes: { number },
  }))
}
