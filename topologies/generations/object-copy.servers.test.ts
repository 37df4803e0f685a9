import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import type { Generation } from '../../schemas/ids.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import { dispatchGroup } from '../dispatch/group.ts'
import type { DispatchRunner } from '../dispatch/runner.ts'
import { upsertOf } from '../dispatch/test-records.ts'
import { begin, type Installation, idOf, install, partitionCount, publish } from '../dispatch/testing/installation.ts'
import { prefixedLog } from '../dispatch/testing/prefixed-log.ts'
import { openKeyValueStore } from '../embedded/embedded-key-value-store.ts'
import type { EventLog } from '../event-log.ts'
import { KafkaEventLog } from '../kafka/kafka-event-log.ts'
import { appliedOf, createTargetTopic, dispatcherOf, source, target, withWorker } from './testing/copied-generation.ts'

const prefix = `copy-${crypto.randomUUID()}`
const logs: EventLog[] = []
const started: DispatchRunner[] = []
let directory: string
let installation: Installation

function openLog(): EventLog {
  const { kafkaBrokers } = inject('servers')
  const log = new KafkaEventLog({ brokers: kafkaBrokers, clientId: prefix, sessionTimeoutMs: 6_000 })
  logs.push(log)
  return prefixedLog(log, prefix)
}

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-copy-kafka-'))
  installation = await install(directory, openLog())
  await begin(installation)
  await createTargetTopic(installation)
})

afterEach(async () => {
  await Promise.all(started.map(runner => runner.stop()))
  await Promise.all(logs.map(log => log.close()))
  await installation.environment.close()
  await rm(directory, { recursive: true })
})

/** One process of the generation's group: a client and a table of its own. */
async function run(generation: Generation, name: string): Promise<DispatchRunner> {
  const table = openKeyValueStore(installation.environment, name)
  const runner = dispatcherOf(installation, generation, { partitions: 'group', log: openLog(), table })
  started.push(runner)
  await runner.start()
  return runner
}

const patience = { timeout: 60_000, interval: 20 }
const items = 1_200
const imageOf = (n: number) => `https://images.example/${n}`

test('processes of a group copy on a real broker, one leaves in the middle, and nothing is embedded again', async () => {
  await withWorker(installation, async jobs => {
    await run(source, 'source')
    const events = Array.from({ length: items }, (_, n) => upsertOf(idOf(n), imageOf(n)))
    await publish(installation, events)
    await appliedOf(installation, source)
    expect(jobs).toHaveLength(items)

    const first = await run(target, 'first')
    await expect.poll(() => first.status().counts.copied, patience).toBeGreaterThan(0)
    await first.stop()
    await publish(
      installation,
      Array.from({ length: 100 }, (_, n) => upsertOf(idOf(n), imageOf(n), { price: 9 })),
    )
    const others = [await run(target, 'second'), await run(target, 'third')]
    await publish(installation, [upsertOf(idOf(items), imageOf(items))])
    const held = await appliedOf(installation, target)
    expect(held).toEqual(await appliedOf(installation, source))
    expect(held.size).toBe(items + 1)
    const known = jobs.filter(({ generation, itemId }) => generation === target && itemId !== idOf(items))
    expect(known).toEqual([])
    await expect
      .poll(() => others.flatMap(runner => runner.status().partitions).filter(one => !one.catchingUp), patience)
      .toHaveLength(partitionCount)
    // Written after the last step, and by nobody waited for.
    await expect
      .poll(async () => (await installation.log.committed(dispatchGroup(target), catalogTopic)).size, patience)
      .toBe(partitionCount)
  })
})
