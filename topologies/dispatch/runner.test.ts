import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import { deadLetterId } from '../../schemas/dead-letter.ts'
import type { EmbedJob } from '../../schemas/embed-job.ts'
import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, asPartition, type TopicEpoch } from '../../schemas/ids.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { catalogTopic, deadLetterTopic } from '../../schemas/topics.ts'
import { DeadLetters } from '../dead-letters.ts'
import type { EmbeddedEnvironment } from '../embedded/environment.ts'
import type { EventLog } from '../event-log.ts'
import type { KeyValueStore } from '../key-value-store.ts'
import type { WorkQueue } from '../work-queue.ts'
import { dispatchGroup } from './group.ts'
import { type DispatchPorts, DispatchRunner } from './runner.ts'
import { identityOf, testEpoch, testGeneration, upsertOf } from './test-records.ts'
import {
  begin,
  brokenImages,
  failTest,
  fold,
  type Installation,
  type ItemEvent,
  idOf,
  install as installIn,
  mutations,
  partitionCount,
  publish,
  readUntilApplied,
  settings,
  withWorker,
} from './testing/installation.ts'

const generation = testGeneration

let directory: string
const opened: EmbeddedEnvironment[] = []
const started: DispatchRunner[] = []

beforeEach(async () => {
  directory = await mkdtemp(join(tmpdir(), 'freshet-dispatch-'))
})

afterEach(async () => {
  for (const runner of started.splice(0)) await runner.stop()
  for (const environment of opened.splice(0)) await environment.close()
  await rm(directory, { recursive: true })
})

async function install(name = 'data'): Promise<Installation> {
  const installation = await installIn(join(directory, name))
  opened.push(installation.environment)
  return installation
}

async function run(ports: DispatchPorts, options: { readonly onFailure?: (error: FreshetError) => void } = {}) {
  const runner = new DispatchRunner(ports, { settings, onFailure: options.onFailure ?? failTest, tickMs: 20 })
  started.push(runner)
  await runner.start()
  return runner
}

test('events become registers, the watermark reaches the end, and a restart goes on from the commit', async () => {
  const installation = await install()
  await begin(installation)
  const runner = await run(installation.ports)
  await withWorker(installation, async () => {
    await publish(
      installation,
      Array.from({ length: 1_500 }, (_, n) => upsertOf(idOf(n), `https://a/${n}`)),
    )
    await publish(
      installation,
      Array.from({ length: 500 }, (_, n) => ({ type: 'ItemDeleted', itemId: idOf(n) })),
    )
    await readUntilApplied(installation)
    await runner.stop()
    expect(runner.status().state).toBe('stopped')
    const offsets = await installation.log.offsets(catalogTopic)
    expect(await installation.log.committed(dispatchGroup(generation), catalogTopic)).toEqual(
      new Map(Array.from(offsets, ([partition, { end }]) => [partition, end])),
    )
    await publish(installation, [
      upsertOf(idOf(0), 'https://a/new'),
      upsertOf(idOf(700), 'https://a/700', { price: 9 }),
    ])
    const next = await run(installation.ports)
    const folded = fold(installation, await readUntilApplied(installation))
    expect(folded.size).toBe(1_001)
    expect(folded.get(idOf(0))).toMatchObject({ identity: identityOf('https://a/new'), f: -1 })
    const kept = folded.get(idOf(700))!
    expect(kept.o).toBeLessThan(kept.a)
    expect(next.status().counts).toMatchObject({ events: 2, jobs: 1, refused: 0 })
  })
})

test('a commit that waits for its group does not keep the runner from stopping, and nothing is lost by it', async () => {
  const installation = await install()
  await begin(installation)
  const { log } = installation
  const openReader = log.openReader.bind(log)
  let commits = 0
  // Commits end with their reader, as while a group is joined.
  const opening = vi.spyOn(log, 'openReader').mockImplementation(async options => {
    const reader = await openReader(options)
    const close = reader.close.bind(reader)
    const closed = Promise.withResolvers<void>()
    vi.spyOn(reader, 'commit').mockImplementation(async () => {
      commits++
      await closed.promise
      throw new FreshetError('log-unavailable', 'the reader is closed')
    })
    vi.spyOn(reader, 'close').mockImplementation(() => {
      closed.resolve()
      return close()
    })
    return reader
  })
  const runner = await run(installation.ports)
  await withWorker(installation, async () => {
    await publish(
      installation,
      Array.from({ length: 50 }, (_, n) => upsertOf(idOf(n), `https://a/${n}`)),
    )
    await expect.poll(() => commits, { timeout: 10_000 }).toBeGreaterThan(0)
    await runner.stop()
    expect(runner.status().state).toBe('stopped')
    opening.mockRestore()
    await run(installation.ports)
    expect(fold(installation, await readUntilApplied(installation)).size).toBe(50)
  })
})

test('a copy of the storage taken at any moment goes on to the same registers', async () => {
  const installation = await install()
  await begin(installation)
  await run(installation.ports)
  await withWorker(installation, async () => {
    const copies: Promise<void>[] = []
    for (let round = 0; round < 6; round++) {
      const events: ItemEvent[] = Array.from({ length: 150 }, (_, n) =>
        upsertOf(idOf(n), `https://a/${round % 3}/${n}`),
      )
      await publish(installation, [...events, { type: 'ItemDeleted', itemId: idOf(round) }])
      if (round % 2 === 1) copies.push(installation.environment.copyTo(join(directory, `copy${round}`)))
    }
    await readUntilApplied(installation)
    await Promise.all(copies)
  })
  for (const round of [1, 3, 5]) {
    const copy = await install(`copy${round}`)
    const runner = await run(copy.ports)
    const folded = await withWorker(copy, async () => fold(copy, await readUntilApplied(copy)))
    for (const [itemId, { a, o, f, identity }] of folded) {
      expect({ itemId, live: a >= 0, embedded: o >= 0, f }).toEqual({ itemId, live: true, embedded: true, f: -1 })
      expect(identity).toMatch(new RegExp(`/${itemId.slice('item-'.length)}"\\]$`))
    }
    expect(folded.size).toBeGreaterThan(140)
    await runner.stop()
  }
})

test('a full disk holds the dispatcher up, shows in its status, and loses nothing', async () => {
  const installation = await install()
  await begin(installation)
  const full = new FreshetError('storage-full', 'no space is left')
  let refusals = 0
  const table: KeyValueStore = {
    get: key => installation.store.get(key),
    entries: (prefix, options) => installation.store.entries(prefix, options),
    clear: () => installation.store.clear(),
    close: () => installation.store.close(),
    write: writes => (refusals++ < 3 ? Promise.reject(full) : installation.store.write(writes)),
  }
  const runner = await run({ ...installation.ports, table })
  await publish(
    installation,
    Array.from({ length: 50 }, (_, n) => upsertOf(idOf(n), `https://a/${n}`)),
  )
  await expect.poll(() => runner.status().error?.code, { timeout: 5_000 }).toBe('storage-full')
  const folded = await withWorker(installation, async () => fold(installation, await readUntilApplied(installation)))
  expect([...folded.values()].filter(({ a, o }) => a >= 0 && o >= 0)).toHaveLength(50)
  await expect.poll(() => runner.status().error, { timeout: 5_000 }).toBeNull()
  expect(runner.status().state).toBe('running')
})

test('a queue that is away is tried again alone: the letters and records beside its jobs are not written twice', async () => {
  const installation = await install()
  const { log, ports } = installation
  await begin(installation)
  const partition = partitionOf(idOf(1), partitionCount)
  await log.append(catalogTopic, [{ partition, key: Buffer.from(idOf(1)), value: Buffer.from('{}') }])
  await publish(installation, [upsertOf(idOf(1), 'https://a/1')])
  let refusals = 0
  const queue: WorkQueue = {
    add: jobs =>
      refusals++ < 3 ? Promise.reject(new FreshetError('queue-unavailable', 'no Redis')) : ports.queue.add(jobs),
    claim: (max, leaseMs, waitMs) => ports.queue.claim(max, leaseMs, waitMs),
    renew: (jobs, leaseMs) => ports.queue.renew(jobs, leaseMs),
    complete: jobs => ports.queue.complete(jobs),
    retry: (job, options) => ports.queue.retry(job, options),
    known: ids => ports.queue.known(ids),
    depth: () => ports.queue.depth(),
    close: () => ports.queue.close(),
  }
  const runner = await run({ ...ports, queue })
  await expect.poll(() => runner.status().error?.code, { timeout: 5_000 }).toBe('queue-unavailable')
  const records = await withWorker(installation, () => readUntilApplied(installation))
  expect(refusals).toBe(4)
  expect(records.filter(({ key }) => Buffer.from(key!).toString() === `a:${idOf(1)}@2`)).toHaveLength(1)
  expect((await log.offsets(deadLetterTopic)).get(partition)).toEqual({ start: 0, end: 1 })
})

test('bytes nobody can read and work given up become dead letters that can be listed, redriven and dropped', async () => {
  const installation = await install()
  const { log, codecs, store } = installation
  await begin(installation)
  const garbage = Buffer.from('{"not":"avro"}')
  const unknownSchema = Buffer.concat([Buffer.from([0, 0, 0, 0xff, 0xff]), Buffer.from('x')])
  const partition = partitionOf(idOf(1), partitionCount)
  await log.append(
    catalogTopic,
    [garbage, unknownSchema].map(value => ({ partition, key: Buffer.from(idOf(1)), value })),
  )
  await publish(installation, [upsertOf(idOf(2), 'https://a/2')])
  const runner = await run(installation.ports)
  const letters = new DeadLetters({ log, store, codec: codecs.deadLetters, redrive: letter => runner.redrive(letter) })
  await withWorker(installation, () => readUntilApplied(installation))
  const { letters: open } = await letters.list({ limit: 10 })
  expect(open.map(({ letter }) => letter.code)).toEqual(['schema-unknown', 'record-undecodable'])
  expect(open.map(({ letter }) => Buffer.from(letter.value!))).toEqual([unknownSchema, garbage])
  await expect(letters.redrive(open[0]!.id)).rejects.toMatchObject({ code: 'bad-request' })
  await letters.markHandled(open[0]!.id, 'dropped')
  expect((await letters.list({ limit: 10 })).letters.map(({ id }) => id)).toEqual([open[1]!.id])
})

test('a redriven letter runs its job again and heals the item', async () => {
  const installation = await install()
  const { log, codecs, store, ports } = installation
  await begin(installation)
  const image = 'https://a/1'
  brokenImages.add(image)
  await publish(installation, [upsertOf(idOf(1), image)])
  const runner = await run(ports)
  await withWorker(installation, () => readUntilApplied(installation))
  brokenImages.delete(image)
  const partition = partitionOf(idOf(1), partitionCount)
  const job: EmbedJob = {
    generation,
    itemId: idOf(1),
    partition,
    version: { epoch: testEpoch, offset: asOffset(1) },
    imageIdentity: identityOf(image),
    images: [image],
    refresh: false,
    acceptedAtMs: 1,
    pendingSinceMs: 1,
    traceparent: '',
  }
  const id = await appendLetter(installation, job)
  const letters = new DeadLetters({ log, store, codec: codecs.deadLetters, redrive: letter => runner.redrive(letter) })
  expect(await letters.redrive(id)).toBe('queued')
  expect(await letters.show(id)).toMatchObject({ handled: 'redriven' })
  await withWorker(installation, async () => {
    const reader = await log.openReader({ topic: mutations, partitions: [partition], from: new Map() })
    const seen = new Set<string>()
    while (!seen.has('o:item-1@1'))
      for (const { key } of await reader.poll(100, 1_000)) seen.add(Buffer.from(key!).toString())
  })
  expect(await letters.redrive(id)).toBe('done')
})

/** As a worker writes it when it gives the job up. */
async function appendLetter({ log, codecs }: Installation, job: EmbedJob): Promise<string> {
  const value = codecs.deadLetters.encode({
    type: 'DeadLetter',
    sourceTopic: catalogTopic,
    sourcePartition: job.partition,
    sourceOffset: job.version.offset,
    generation,
    stage: 'decode',
    code: 'image-corrupt',
    message: '',
    attempts: 3,
    failedAtMs: 1,
    traceparent: '',
    key: null,
    value: null,
    job,
  })
  const [appended] = await log.append(deadLetterTopic, [{ partition: job.partition, key: null, value }])
  return deadLetterId(job.partition, appended!.offset)
}

test.each([
  ['the topic was created again and is shorter', async (log: EventLog) => commitTo(log, 1_000)],
  ['the topic was created again with another marker', async (log: EventLog) => commitTo(log, 1)],
])('%s: the dispatcher does not start', async (_, before) => {
  const installation = await install()
  await begin(installation, 'ffffffffffffffff' as TopicEpoch)
  await before(installation.log)
  await expect(run(installation.ports)).rejects.toMatchObject({ code: 'topic-epoch' })
})

async function commitTo(log: EventLog, offset: number): Promise<void> {
  const group = dispatchGroup(generation)
  const reader = await log.openReader({ topic: catalogTopic, partitions: [asPartition(0)], group, from: new Map() })
  await reader.commit(new Map([[asPartition(0), asOffset(offset)]]))
  await reader.close()
}

test('what will not pass is told once, and ends the dispatcher', async () => {
  const installation = await install()
  await begin(installation, 'ffffffffffffffff' as TopicEpoch)
  const failed = Promise.withResolvers<FreshetError>()
  const runner = await run(installation.ports, { onFailure: failed.resolve })
  expect(await failed.promise).toMatchObject({ code: 'topic-epoch' })
  expect(runner.status()).toMatchObject({ state: 'failed', error: { code: 'topic-epoch' } })
  await runner.stop()
  expect(await installation.log.committed(dispatchGroup(generation), catalogTopic)).toEqual(new Map())
})
