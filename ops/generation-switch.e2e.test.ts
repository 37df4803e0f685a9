import { mkdtempSync, rmSync } from 'node:fs'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FreshetClient } from '../schemas/client.ts'
import { seededRandom } from '../shard-node/testing/seeded-random.ts'
import { demoDirectory, demoItems } from './demo-catalog.ts'
import { type ServerProcess, startServerProcess } from './testing/server-process.ts'
import { beyondStubs, writeBounds } from './testing/switch/canary-bounds.ts'
import { stubMixture } from './testing/switch/stub-mixture.ts'
import { runSwitch, type SwitchOutcome, type SwitchScenarioOptions } from './testing/switch/switch-scenario.ts'

const seed = 20261122
let directory: string
let server: ServerProcess | null = null

beforeEach(() => {
  directory = mkdtempSync(join(tmpdir(), 'freshet-switch-'))
})

afterEach(async () => {
  await server?.stop()
  server = null
  rmSync(directory, { recursive: true, force: true })
})

test('a model is changed, undone and changed again under events and searches: nothing fails, mixes or is missing', async () => {
  const client = await serve({ FRESHET_STUB_MODEL: 'true' }, beyondStubs)
  const outcome = await runSwitch({
    ...scenario(client),
    items: demoItems(),
    model: 'stub-b',
    eventsPerSecond: 60,
    shoppers: 6,
    pauseMs: 20,
    mixture: stubMixture,
  })
  requireKept(outcome)
  expect(outcome.events).toBeGreaterThan(1_000)
  expect(new Set(outcome.answered.map(({ generation }) => generation))).toEqual(new Set(['g1', 'g2']))
}, 600_000)

test('so it is with real models on a small catalogue', async () => {
  const client = await serve({}, [])
  const outcome = await runSwitch({
    ...scenario(client),
    items: demoItems().slice(0, 60),
    model: 'v2',
    eventsPerSecond: 2,
    shoppers: 2,
    pauseMs: 200,
    mixture: ({ generation, model }) => (model === { g1: 'v1', g2: 'v2' }[generation] ? null : `it is of ${model}`),
  })
  requireKept(outcome)
}, 600_000)

function scenario(client: FreshetClient): Pick<SwitchScenarioOptions, 'client' | 'random' | 'heardWithinMs' | 'note'> {
  return { client, random: seededRandom(seed), heardWithinMs: 0, note: line => process.stdout.write(`${line}\n`) }
}

function requireKept({ problems, certificates, canary }: SwitchOutcome): void {
  expect(problems.slice(0, 20)).toEqual([])
  expect(certificates.map(({ passed }) => passed)).toEqual([true, true, true, true, true])
  expect(canary.passed).toBe(true)
}

async function serve(env: Readonly<Record<string, string>>, unbound: readonly string[]): Promise<FreshetClient> {
  server = await startServerProcess({
    dataDir: join(directory, 'data'),
    env: {
      FRESHET_IMAGE_ROOTS: demoDirectory,
      FRESHET_LOG_LEVEL: 'warn',
      FRESHET_GENERATIONS_CANARY_BOUNDS: writeBounds(directory, unbound),
      ...env,
    },
  })
  return new FreshetClient({ baseUrl: server.url })
}
