import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import { asPartition } from '../../schemas/ids.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { catalogTopic, deadLetterTopic } from '../../schemas/topics.ts'
import { openKeyValueStore } from '../embedded/embedded-key-value-store.ts'
import type { EventLog } from '../event-log.ts'
import { dispatchGroup } from './group.ts'
import { DispatchRunner } from './runner.ts'
import { identityOf, upsertOf } from './test-records.ts'
import { ExpellableLog } from './testing/expellable-log.ts'
import { GatedMutations } from './testing/gated-mutations.ts'
import {
  begin,
  failTest,
  fold,
  type Installation,
  idOf,
  install,
  mutations,
  partitionCount,
  publish,
  readUntilApplied,
  settings,
  withWorker,
} from './testing/installation.ts'

let directory: string
let installation: Installation
const started: DispatchRunner[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-dispatch-group-'))
  installation = await install(directory)
  await begin(installation)
})

afterEach(async () => {
  for (const runner of started.splice(0)) await runner.stop()
  await installation.environment.close()
  await rm(directory, { recursive: true })
})

interface RunOptions {
  readonly log?: EventLog
  readonly clock?: () => number
  readonly onFailure?: (error: FreshetError) => void
  readonly acceptMissedRemovals?: boolean
}

/** One process of the group, with a table of its own. */
async function run(table: string, options: RunOptions = {}) {
  const { log = installation.log, clock = Date.now, onFailure = failTest, acceptMissedRemovals = false } = options
  const { environment, ports } = installation
  const runner = new DispatchRunner(
    { ...ports, log, clock, table: openKeyValueStore(environment, table) },
    { settings: { ...settings, acceptMissedRemovals }, partitions: 'group', onFailure, tickMs: 20 },
  )
  started.push(runner)
  await runner.start()
  return runner
}

const flowingOf = (runner: DispatchRunner) =>
  runner
    .status()
    .partitions.flatMap(({ partition, catchingUp }) => (catchingUp ? [] : [partition]))
    .toSorted()
const upserts = (count: number, image: string) =>
  Array.from({ length: count }, (_, n) => upsertOf(idOf(n), `https://a/${image}/${n}`))

async function expectImages(count: number, image: string): Promise<void> {
  const folded = fold(installation, await readUntilApplied(installation))
  expect(folded.size).toBe(count)
  for (let n = 0; n < count; n++)
    expect(folded.get(idOf(n))).toMatchObject({ identity: identityOf(`https://a/${image}/${n}`), f: -1 })
}

/** Wait until nothing would be read again. */
async function untilCommitted(): Promise<void> {
  const ends = await installation.log.offsets(catalogTopic)
  const expected = new Map(Array.from(ends, ([partition, { end }]) => [partition, end]))
  await expect.poll(committed, patience).toEqual(expected)
}

const committed = () => installation.log.committed(dispatchGroup(settings.generation), catalogTopic)
const patience = { timeout: 10_000 }

/** Items per turn of the group: two runners have the even and the odd partitions. */
const eventsIn = (turn: number, items: number) =>
  Array.from({ length: items }, (_, n) => partitionOf(idOf(n), partitionCount)).filter(one => one % 2 === turn).length

async function untilShared(first: DispatchRunner, second: DispatchRunner): Promise<void> {
  const both = () => [flowingOf(first), flowingOf(second)]
  await expect.poll(both, patience).toEqual([
    [0, 2],
    [1, 3],
  ])
}

test('a second runner takes over half of the partitions, and what its leaving gives back goes on where it was', async () => {
  const first = await run('one')
  await withWorker(installation, async () => {
    await publish(installation, upserts(200, 'a'))
    await expectImages(200, 'a')
    await untilCommitted()
    const second = await run('two')
    await untilShared(first, second)
    await publish(installation, upserts(200, 'b'))
    await expectImages(200, 'b')
    expect(second.status().counts).toMatchObject({ events: eventsIn(1, 200), jobs: eventsIn(1, 200) })
    await second.stop()
    await expect.poll(() => flowingOf(first), patience).toEqual([0, 1, 2, 3])
    await publish(installation, upserts(200, 'c'))
    await expectImages(200, 'c')
    expect(first.status().counts).toMatchObject({ events: 400 + eventsIn(0, 200), jobs: 400 + eventsIn(0, 200) })
  })
})

test('partitions that stay are not disturbed: neither letters nor jobs are written again', async () => {
  const first = await run('one')
  const items = 40
  await publish(installation, upserts(items, 'a'))
  const garbage = Array.from({ length: partitionCount }, (_, partition) => ({
    partition: asPartition(partition),
    key: Buffer.from('garbage'),
    value: Buffer.from('{}'),
  }))
  await installation.log.append(catalogTopic, garbage)
  await expect.poll(() => first.status().counts, patience).toMatchObject({ jobs: items, deadLetters: partitionCount })
  const second = await run('two')
  await untilShared(first, second)
  await expect.poll(() => second.status().counts, patience).toMatchObject({ jobs: eventsIn(1, items), deadLetters: 2 })
  expect(first.status().counts).toMatchObject({ jobs: items, deadLetters: partitionCount })
  await withWorker(installation, () => expectImages(items, 'a'))
  const letters = await installation.log.offsets(deadLetterTopic)
  // Of a partition that moves before its commit, the new owner finds the garbage too.
  expect(Array.from(letters.values(), ({ end }) => end)).toEqual([1, 2, 1, 2])
})

test('a runner that is cut off is replaced, and does no harm when it wakes up as a zombie', async () => {
  const cut = new ExpellableLog(installation.log)
  const zombie = await run('zombie', { log: cut.log })
  const other = await run('other')
  await untilShared(zombie, other)
  const items = 100
  await publish(installation, upserts(items, 'a'))
  await expect.poll(() => zombie.status().counts.jobs, patience).toBe(eventsIn(0, items))
  cut.stop()
  await publish(installation, upserts(items, 'b'))
  await cut.expel()
  await expect.poll(() => flowingOf(other), patience).toEqual([0, 1, 2, 3])
  await withWorker(installation, async () => {
    await expectImages(items, 'b')
    await untilCommitted()
    const before = await committed()
    const oldEpoch = zombie.status().assignmentEpoch
    expect(zombie.status().partitions.map(({ partition }) => partition)).toEqual([0, 2])
    cut.goOn()
    await expect.poll(() => zombie.status().assignmentEpoch, patience).toBeGreaterThan(oldEpoch)
    await untilShared(other, zombie)
    expect(cut.appendedAfterStop).toBeGreaterThan(0)
    expect(await committed()).toEqual(before)
    await publish(installation, upserts(items, 'c'))
    await expectImages(items, 'c')
  })
  expect(zombie.status().counts.deadLetters + other.status().counts.deadLetters).toBe(0)
})

test('a gained partition is not read before its mutation log: an item removed meanwhile is embedded again', async () => {
  const first = await run('one')
  const gated = new GatedMutations(installation.log)
  await withWorker(installation, async () => {
    await publish(installation, upserts(20, 'a'))
    await expectImages(20, 'a')
    await first.stop()
    await removeAndSettle(await run('two'), 20)
    gated.closeGate()
    // Else it would look for the last watermark first, behind the gate.
    const again = await run('one', { log: gated.log, acceptMissedRemovals: true })
    await publish(installation, upserts(20, 'a'))
    await expect.poll(() => gated.otherPolls, patience).toBeGreaterThan(1)
    expect(again.status()).toMatchObject({ counts: { events: 0 }, partitions: [{ catchingUp: true }, {}, {}, {}] })
    gated.openGate()
    await expectImages(20, 'a')
    expect(again.status().counts.jobs).toBe(20)
  })
})

test('nor is one that another had while this one was cut off and did not notice', async () => {
  const cut = new ExpellableLog(installation.log)
  const gated = new GatedMutations(cut.log)
  const zombie = await run('zombie', { log: gated.log })
  await withWorker(installation, async () => {
    await publish(installation, upserts(20, 'a'))
    await expectImages(20, 'a')
    await untilCommitted()
    cut.stop()
    gated.closeGate()
    await cut.expel()
    await removeAndSettle(await run('other'), 20)
    await publish(installation, upserts(20, 'a'))
    gated.otherPolls = 0
    cut.goOn()
    await expect.poll(() => gated.otherPolls, patience).toBeGreaterThan(2)
    expect(zombie.status().counts.events).toBe(20)
    gated.openGate()
    await expectImages(20, 'a')
    expect(zombie.status().counts.jobs).toBe(40)
  })
})

/** All items are deleted, and the runner leaves when that is applied. */
async function removeAndSettle(runner: DispatchRunner, count: number): Promise<void> {
  await publish(
    installation,
    Array.from({ length: count }, (_, n) => ({ type: 'ItemDeleted', itemId: idOf(n) })),
  )
  await expectImages(0, '')
  await untilCommitted()
  await runner.stop()
}

test('a runner that fails leaves its partitions to the others', async () => {
  const failed = Promise.withResolvers<FreshetError>()
  const append = async () => {
    throw new FreshetError('access-denied', 'may not write')
  }
  const { log } = installation
  const readOnly: EventLog = {
    ensureTopic: spec => log.ensureTopic(spec),
    deleteTopic: topic => log.deleteTopic(topic),
    topicSpec: topic => log.topicSpec(topic),
    partitionCount: topic => log.partitionCount(topic),
    append,
    offsets: topic => log.offsets(topic),
    openReader: options => log.openReader(options),
    committed: (group, topic) => log.committed(group, topic),
    close: () => log.close(),
  }
  const other = await run('other')
  await run('failing', { log: readOnly, onFailure: failed.resolve })
  expect((await failed.promise).code).toBe('access-denied')
  await expect.poll(() => flowingOf(other), patience).toEqual([0, 1, 2, 3])
})

test('a table from before the removals were collected is made anew: an item that came back is embedded', async () => {
  let skewMs = 0
  const clock = () => Date.now() + skewMs
  const first = await run('one', { clock })
  await withWorker(installation, async () => {
    await publish(installation, upserts(20, 'a'))
    await expectImages(20, 'a')
    await first.stop()
    const second = await run('two', { clock })
    const removed = idOf(7)
    await publish(installation, [{ type: 'ItemDeleted', itemId: removed }])
    await expect.poll(() => keysOf(`x:${removed}@`), patience).toHaveLength(1)
    await untilCommitted()
    skewMs = settings.tombstoneRetentionMs + 1_000
    // The removal, the null that collects it, and then neither.
    await expect.poll(() => keysOf(`x:${removed}@`), patience).toHaveLength(2)
    await second.stop()
    await installation.environment.compactNow()
    expect(await keysOf(`:${removed}@`)).toEqual([])
    // The log's clock was not moved, so that to this one the last watermark is old.
    const again = await run('one', { clock, acceptMissedRemovals: true })
    await publish(installation, upserts(20, 'a'))
    await expectImages(20, 'a')
    expect(again.status().counts.jobs).toBe(1)
  })
})

/** Keys in the mutation log that hold the text. */
async function keysOf(text: string): Promise<readonly string[]> {
  const { log } = installation
  const offsets = await log.offsets(mutations)
  const reader = await log.openReader({ topic: mutations, partitions: [...offsets.keys()], from: new Map() })
  const keys: string[] = []
  for (let records = await reader.poll(1_000, 0); records.length > 0; records = await reader.poll(1_000, 0))
    keys.push(...records.map(({ key }) => Buffer.from(key!).toString()))
  await reader.close()
  return keys.filter(key => key.includes(text))
}
