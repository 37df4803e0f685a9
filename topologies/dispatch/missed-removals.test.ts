import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { asPartition } from '../../schemas/ids.ts'
import { openKeyValueStore } from '../embedded/embedded-key-value-store.ts'
import type { DispatchSettings } from './dispatch-state.ts'
import { DispatchRunner } from './runner.ts'
import { upsertOf } from './test-records.ts'
import {
  begin,
  failTest,
  type Installation,
  idOf,
  install,
  mutations,
  publish,
  readUntilApplied,
  settings,
  withWorker,
} from './testing/installation.ts'

const dayMs = 24 * 3_600_000
let directory: string
let installation: Installation

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-missed-removals-'))
  installation = await install(directory)
  await begin(installation)
})

afterEach(async () => {
  await installation.environment.close()
  await rm(directory, { recursive: true })
})

/** A process of the group that starts so many days later, with a new table. */
async function startLater(days: number, changed: Partial<DispatchSettings> = {}): Promise<DispatchRunner> {
  const { ports, environment } = installation
  const clock = () => Date.now() + days * dayMs
  const table = openKeyValueStore(environment, `table-${days}`)
  const options = {
    settings: { ...settings, ...changed },
    partitions: 'group',
    onFailure: failTest,
    tickMs: 20,
  } as const
  const runner = new DispatchRunner({ ...ports, table, clock }, options)
  await runner.start()
  return runner
}

async function runFirst(): Promise<void> {
  const first = await startLater(0)
  await withWorker(installation, async () => {
    await publish(
      installation,
      Array.from({ length: 20 }, (_, n) => upsertOf(idOf(n), `https://a/${n}`)),
    )
    await readUntilApplied(installation)
  })
  await first.stop()
}

test('dispatchers that were away for longer than removals are kept do not go on, unless that is accepted', async () => {
  await runFirst()
  await expect(startLater(7.5)).rejects.toMatchObject({
    code: 'checkpoint-too-old',
    retryable: false,
    message: expect.stringMatching(/180\.\d h.*168\.0 h/),
  })
  const runner = await startLater(8, { acceptMissedRemovals: true })
  expect(runner.status().state).toBe('running')
  await runner.stop()
})

test('those that were away for less go on', async () => {
  await runFirst()
  const runner = await startLater(6.5)
  expect(runner.status().state).toBe('running')
  await runner.stop()
})

test('results that workers wrote after the last watermark, however many, do not count as a dispatcher', async () => {
  await runFirst()
  const partition = asPartition(2)
  const late = Array.from({ length: 1_000 }, (_, n) => ({ partition, key: Buffer.from(`late-${n}`), value: null }))
  await installation.log.append(mutations, late)
  await expect(startLater(7.5)).rejects.toMatchObject({ code: 'checkpoint-too-old' })
})
