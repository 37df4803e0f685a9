import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { catalogTopic } from '../../schemas/topics.ts'
import { openKeyValueStore } from '../embedded/embedded-key-value-store.ts'
import type { EventLog } from '../event-log.ts'
import { KafkaEventLog } from '../kafka/kafka-event-log.ts'
import { dispatchGroup } from './group.ts'
import { DispatchRunner } from './runner.ts'
import { identityOf, upsertOf } from './test-records.ts'
import { ExpellableLog } from './testing/expellable-log.ts'
import {
  begin,
  failTest,
  fold,
  type Installation,
  idOf,
  install,
  partitionCount,
  publish,
  readUntilApplied,
  settings,
  withWorker,
} from './testing/installation.ts'
import { prefixedLog } from './testing/prefixed-log.ts'

const prefix = `dispatch-${crypto.randomUUID()}`
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
  directory = await mkdtemp(join(tmpdir(), 'freshet-dispatch-kafka-'))
  installation = await install(directory, openLog())
  await begin(installation)
})

afterEach(async () => {
  await Promise.all(started.map(runner => runner.stop()))
  await Promise.all(logs.map(log => log.close()))
  await installation.environment.close()
  await rm(directory, { recursive: true })
})

/** One process of the group: a client and a table of its own. */
async function run(table: string, log: EventLog): Promise<DispatchRunner> {
  const { environment, ports } = installation
  const runner = new DispatchRunner(
    { ...ports, log, table: openKeyValueStore(environment, table) },
    { settings, partitions: 'group', onFailure: failTest, tickMs: 50 },
  )
  started.push(runner)
  await runner.start()
  return runner
}

const patience = { timeout: 60_000, interval: 50 }
const items = 300

async function publishImages(image: string): Promise<void> {
  const events = Array.from({ length: items }, (_, n) => upsertOf(idOf(n), `https://a/${image}/${n}`))
  await publish(installation, events)
}

async function expectImages(image: string): Promise<void> {
  const folded = fold(installation, await readUntilApplied(installation))
  expect(folded.size).toBe(items)
  for (let n = 0; n < items; n++)
    expect(folded.get(idOf(n))).toMatchObject({ identity: identityOf(`https://a/${image}/${n}`), f: -1 })
}

const flowingOf = (runner: DispatchRunner) =>
  runner.status().partitions.flatMap(({ partition, catchingUp }) => (catchingUp ? [] : [partition]))

/** Each of the runners has partitions, and together they have each once. */
async function untilShared(...runners: readonly DispatchRunner[]): Promise<void> {
  const all = Array.from({ length: partitionCount }, (_, partition) => partition)
  await expect.poll(() => runners.flatMap(flowingOf).toSorted(), patience).toEqual(all)
  for (const runner of runners) expect(flowingOf(runner)).not.toEqual([])
}

const committed = () => installation.log.committed(dispatchGroup(settings.generation), catalogTopic)

test('runners come, are cut off, wake up as zombies and leave, and every event of a real broker is applied', async () => {
  const first = await run('first', openLog())
  await untilShared(first)
  const cut = new ExpellableLog(openLog())
  const second = await run('second', cut.log)
  await untilShared(first, second)
  await withWorker(installation, async () => {
    await publishImages('a')
    await expectImages('a')
    cut.stop()
    await publishImages('b')
    await cut.expel()
    await untilShared(first)
    await expectImages('b')
    const ends = await installation.log.offsets(catalogTopic)
    const expected = new Map(Array.from(ends, ([partition, { end }]) => [partition, end]))
    await expect.poll(committed, patience).toEqual(expected)
    cut.goOn()
    await untilShared(first, second)
    expect(await committed()).toEqual(expected)
    await publishImages('c')
    await expectImages('c')
    await first.stop()
    await untilShared(second)
    await publishImages('d')
    await expectImages('d')
  })
  for (const runner of [first, second]) expect(runner.status().counts).toMatchObject({ deadLetters: 0, refused: 0 })
})
