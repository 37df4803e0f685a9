import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import type { Item } from '../schemas/http-items.ts'
import { seededRandom } from '../shard-node/testing/seeded-random.ts'
import { FaultInstallation } from './testing/faults/fault-installation.ts'
import { beyondStubs, writeBounds } from './testing/switch/canary-bounds.ts'
import { stubMixture } from './testing/switch/stub-mixture.ts'
import { runSwitch } from './testing/switch/switch-scenario.ts'

const seed = 20261122
let directory: string
let installation: FaultInstallation

beforeEach(async () => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-switch-'))
  installation = await FaultInstallation.start({
    name: 'switch',
    brokers: 1,
    kafkaSettings: {},
    env: {
      FRESHET_GENERATIONS_CANARY_BOUNDS: writeBounds(directory, beyondStubs),
      // Servers, roles and the test share a few cores, and a dead replica's searches go to the other one: no answer
      // shall be less than whole because of that.
      FRESHET_LIMITS_DEADLINE_MS: '60s',
      FRESHET_SEARCH_SHARD_TIMEOUT_MS: '30s',
      FRESHET_SEARCH_FEATURES_MS: '30s',
      FRESHET_SEARCH_EXTRA_PERCENT: '100',
    },
  })
}, 300_000)

afterEach(async () => {
  await installation.stop()
  rmSync(directory, { recursive: true, force: true })
})

test('on Kafka and Redis a model is changed and undone while processes of every other role are killed', async () => {
  const { client, fleet } = installation
  const { problems, certificates, canary, events, answered } = await runSwitch({
    client,
    items: items(),
    model: 'stub-b',
    random: seededRandom(seed),
    eventsPerSecond: 50,
    shoppers: 4,
    pauseMs: 50,
    mixture: stubMixture,
    // Far more than they take: how long it is, is for the bench to say.
    heardWithinMs: 10_000,
    note: line => process.stdout.write(`${line}\n`),
    trouble: async when => {
      const names = when === 'building' ? ['dispatch-1', 'work-1'] : ['dispatch-2', 'shard-b']
      for (const name of names) await fleet.kill(name)
      for (const name of names) await fleet.start(name)
    },
  })
  expect(problems.slice(0, 20)).toEqual([])
  expect(certificates.map(({ passed }) => passed)).toEqual([true, true, true, true, true])
  expect(canary.passed).toBe(true)
  expect(events).toBeGreaterThan(500)
  expect(new Set(answered.map(({ generation }) => generation))).toEqual(new Set(['g1', 'g2']))
}, 900_000)

function items(): readonly Item[] {
  return installation.pictures.map(({ reference }, number) => ({
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
