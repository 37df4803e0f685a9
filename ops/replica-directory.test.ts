import { createNoopMeter } from '@opentelemetry/api'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { defaultFanoutOptions } from '../query-gateway/fanout/fanout-options.ts'
import type { RemoteReplica } from '../query-gateway/remote/remote-replica.ts'
import { ReplicaDirectory } from '../query-gateway/remote/replica-directory.ts'
import { ReplicaRoster } from '../query-gateway/replica-roster.ts'
import { ShardFanout } from '../query-gateway/shard-fanout.ts'
import { allPartitions, fingerprint, hit, unitVector } from '../query-gateway/testing/gateway-fixture.ts'
import { type Codecs, openCodecs, registerSchemas } from '../schemas/avro/codec.ts'
import { FreshetError } from '../schemas/errors.ts'
import { type Heartbeat, heartbeatRetentionMs } from '../schemas/heartbeat.ts'
import { asPartition, asShardId, type Generation, parseItemId, type ReplicaId } from '../schemas/ids.ts'
import { MemorySchemaDirectory } from '../schemas/testing/memory-schema-directory.ts'
import { heartbeatTopic } from '../schemas/topics.ts'
import { EmbeddedEventLog } from '../topologies/embedded/embedded-event-log.ts'
import { TemporaryEnvironment } from '../topologies/embedded/testing/temporary-environment.ts'
import type { EventLog } from '../topologies/event-log.ts'
import { ShardProcess } from './testing/shard-process.ts'

/** Patient: the machine may be busy. */
const eventually = <T>(read: () => T) => expect.poll(read, { timeout: 20_000, interval: 10 })
const hourMs = 3_600_000
const generation = 'g1' as Generation
const lamp = parseItemId('lamp')

let environment: TemporaryEnvironment
let log: EmbeddedEventLog
let codecs: Codecs
let processes: ShardProcess[]
let directories: ReplicaDirectory[]
let alarms: FreshetError[]
/** Our monotonic clock: ahead of the real one by what a test lets pass. */
let passedMs: number

beforeEach(async () => {
  environment = await TemporaryEnvironment.create()
  log = new EmbeddedEventLog(await environment.open())
  const kept = { compacted: false, retentionMs: heartbeatRetentionMs, minCompactionLagMs: 0, tombstoneRetentionMs: 0 }
  await log.ensureTopic({ name: heartbeatTopic, partitions: 1, ...kept })
  const schemas = new MemorySchemaDirectory()
  await registerSchemas(schemas)
  codecs = await openCodecs(schemas)
  processes = []
  directories = []
  alarms = []
  passedMs = 0
})

afterEach(async () => {
  await Promise.all(processes.map(process => process.kill()))
  await Promise.all(directories.map(directory => directory.close()))
  await log.close()
  await environment.dispose()
})

async function startShard(replica: string, skewMs = 0): Promise<ShardProcess> {
  const process = await ShardProcess.start({
    log,
    codec: codecs.heartbeats,
    replica,
    partitions: allPartitions,
    skewMs,
  })
  processes.push(process)
  return process
}

async function follow(of: Pick<EventLog, 'offsets' | 'openReader'> = log): Promise<ReplicaDirectory> {
  const directory = await ReplicaDirectory.follow({
    log: of,
    codec: codecs.heartbeats,
    settings: { lookupTimeoutMs: 500, graceMs: 100 },
    onAlarm: error => alarms.push(error),
    monotonicMs: () => performance.now() + passedMs,
  })
  directories.push(directory)
  return directory
}

/** The heartbeat of a shard that nobody sees alive. */
const beatOfThePast: Heartbeat = {
  type: 'Heartbeat',
  role: 'shard',
  replica: 'of the past' as ReplicaId,
  shard: asShardId(0),
  generation,
  address: 'http://127.0.0.1:9',
  partitions: [],
  state: 'ready',
  applied: {},
  watermarks: {},
  indexAgeMs: 0,
  startedAtMs: 0,
  sequence: 0,
  writtenAtMs: 0,
}

const append = (value: Uint8Array | null) =>
  log.append(heartbeatTopic, [{ partition: asPartition(0), key: Buffer.from('x'), value }])

/** The log holds a heartbeat. */
const heardInLog = () =>
  eventually(async () => (await log.offsets(heartbeatTopic)).get(asPartition(0))?.end).toBeGreaterThan(0)

const addresses = (directory: ReplicaDirectory): string[] =>
  directory.replicas().map(replica => (replica as RemoteReplica).address)
const dropped = (directory: ReplicaDirectory): Record<string, string | null> =>
  Object.fromEntries(directory.entries().map(({ heartbeat, dropped: why }) => [heartbeat.replica, why]))
const search = (directory: ReplicaDirectory, signal = AbortSignal.timeout(5_000)) => {
  const roster = new ReplicaRoster({ replicas: () => directory.replicas(), clock: Date.now })
  const routes = roster.shards({ generation, shards: 1 })
  const fanout = new ShardFanout({
    options: defaultFanoutOptions,
    meter: createNoopMeter(),
    replicas: () => directory.replicas(),
  })
  return fanout.search(routes, { generation, fingerprint, vector: unitVector, k: 3 }, { signal, wanted: 'results' })
}

test('replicas are found, those of later too, and queries reach them', async () => {
  const first = await startShard('a')
  first.table.hits = [hit('lamp', 0.5)]
  await heardInLog()
  const directory = await follow()
  expect(addresses(directory)).toEqual([first.address])
  expect((await search(directory)).hits.map(({ hit: { itemId } }) => itemId)).toEqual(['lamp'])
  const second = await startShard('b')
  await eventually(() => addresses(directory)).toEqual([first.address, second.address])
  expect(directory.replicas()[1]).toMatchObject({ replica: 'b', shard: 0, generation, partitions: allPartitions })
})

test('a replica that is behind is told as such from the first query on', async () => {
  const shard = await startShard('a')
  shard.table.state = 'catching-up'
  const directory = await follow()
  await eventually(() => directory.replicas()[0]?.reported?.state).toBe('catching-up')
  shard.table.hits = [hit('lamp', 0.5)]
  expect(await search(directory)).toMatchObject({ degraded: ['shard-not-ready'], coverage: { answered: 1, total: 1 } })
  shard.table.state = 'ready'
  await eventually(() => directory.replicas()[0]?.reported?.state).toBe('ready')
  expect((await search(directory)).degraded).toEqual([])
})

describe.each([0, hourMs, -hourMs])('a shard killed, and back with a clock %i ms off,', skewMs => {
  test('is reached at its new address, as another replica than before', async () => {
    const before = await startShard('a')
    const directory = await follow()
    await eventually(() => addresses(directory)).toEqual([before.address])
    const [old] = directory.replicas()
    await before.kill()
    await expect(old!.status()).rejects.toMatchObject({ code: 'replica-unavailable' })
    environment.now += 100
    const after = await startShard('a', skewMs)
    after.table.hits = [hit('lamp', 0.5)]
    await eventually(() => addresses(directory)).toEqual([after.address])
    expect(directory.replicas()[0]).not.toBe(old)
    expect((await search(directory)).hits).toHaveLength(1)
    expect(alarms).toEqual([])
  })
})

test('one that is silent and does not answer is dropped with the reason, and taken back when it is heard again', async () => {
  const [dead, alive] = [await startShard('dead'), await startShard('alive')]
  const directory = await follow()
  await eventually(() => addresses(directory)).toHaveLength(2)
  await dead.kill()
  passedMs += 11_000
  await eventually(() => addresses(directory)).toEqual([alive.address])
  expect(dropped(directory)).toMatchObject({
    alive: null,
    dead: expect.stringMatching(/^it was not heard of for 11\.\d s, and it does not answer: /),
  })
  const back = await startShard('dead')
  await eventually(() => addresses(directory)).toEqual([alive.address, back.address])
  expect(dropped(directory)).toEqual({ alive: null, dead: null })
})

test('while the log takes no heartbeats, replicas that answer stay', async () => {
  const shards = [await startShard('a'), await startShard('b')]
  const directory = await follow()
  await eventually(() => addresses(directory)).toHaveLength(2)
  for (const shard of shards) shard.reachesLog = false
  for (const shard of shards) await eventually(() => shard.troubles).toEqual(['the log is away'])
  await shards[1]!.kill()
  for (let i = 0; i < 3; i++) {
    passedMs += 11_000
    await eventually(() => addresses(directory)).toEqual([shards[0]!.address])
  }
  shards[0]!.reachesLog = true
  await expect
    .poll(() => directory.entries().find(({ heartbeat }) => heartbeat.replica === 'a')!.silentMs)
    .toBeLessThan(5_000)
  expect(shards[0]!.troubles).toHaveLength(1)
})

test('while the log cannot be read, replicas stay, and what was missed is read after', async () => {
  let isAway = false
  const away = (): void => {
    if (isAway) throw new FreshetError('log-unavailable', 'no broker answers')
  }
  const flaky: Pick<EventLog, 'offsets' | 'openReader'> = {
    offsets: async topic => {
      away()
      return log.offsets(topic)
    },
    openReader: async options => {
      away()
      const reader = await log.openReader(options)
      const poll = reader.poll.bind(reader)
      reader.poll = async (maxRecords, waitMs) => {
        away()
        return poll(maxRecords, waitMs)
      }
      return reader
    },
  }
  const first = await startShard('a')
  const directory = await follow(flaky)
  await eventually(() => addresses(directory)).toEqual([first.address])
  isAway = true
  await eventually(() => alarms.map(({ code }) => code)).toEqual(['log-unavailable'])
  const second = await startShard('b')
  passedMs += 30_000
  expect(addresses(directory)).toEqual([first.address])
  isAway = false
  await eventually(() => addresses(directory)).toEqual([first.address, second.address])
  expect(alarms).toHaveLength(1)
})

test('a replica that drains is left at once, and its searches in hand are finished', async () => {
  const shard = await startShard('a')
  const directory = await follow()
  await eventually(() => addresses(directory)).toHaveLength(1)
  shard.table.hits = [hit('lamp', 0.5)]
  const gate = Promise.withResolvers<void>()
  const answer = shard.table.search.bind(shard.table)
  shard.table.search = async request => {
    await gate.promise
    return answer(request)
  }
  const [replica] = directory.replicas()
  const searching = replica!.search({ generation, fingerprint, vector: unitVector, k: 3 })
  const listening = replica!.changed(lamp, new AbortController().signal)
  const listened = expect(listening).rejects.toMatchObject({ code: 'replica-unavailable' })
  await replica!.registers(lamp)
  const drained = shard.drain()
  await eventually(() => addresses(directory)).toEqual([])
  expect(dropped(directory)).toEqual({ a: 'it was stopped' })
  gate.resolve()
  expect((await searching).hits).toHaveLength(1)
  await drained
  await listened
})

test.each([
  [0, 0],
  [hourMs, -hourMs],
  [-hourMs, hourMs],
])(
  'of two processes with one name, clocks %i and %i ms off, the later one is used and an alarm tells',
  async (...skews) => {
    const older = await startShard('a', skews[0])
    await heardInLog()
    environment.now += 5_000
    const newer = await startShard('a', skews[1])
    await eventually(() => newer.table.searches).toEqual([])
    const directory = await follow()
    await eventually(() => alarms.map(({ code }) => code)).toEqual(['config-invalid'])
    expect(addresses(directory)).toEqual([newer.address])
    expect(alarms[0]?.message).toBe(
      `two processes call themselves a: ${older.address}, and ${newer.address}, which began later and is used`,
    )
  },
)

test('dispatchers are no replicas, and are told until they stop', async () => {
  const directory = await follow()
  const beat: Heartbeat = { ...beatOfThePast, role: 'dispatch', replica: 'dispatch-1' as ReplicaId }
  await append(codecs.heartbeats.encode(beat))
  await eventually(() => directory.dispatchers()).toEqual([beat])
  expect([directory.replicas(), directory.entries()]).toEqual([[], []])
  passedMs += 11_000
  expect(directory.dispatchers()).toEqual([])
  await append(codecs.heartbeats.encode({ ...beat, sequence: 1 }))
  await eventually(() => directory.dispatchers()).toHaveLength(1)
  await append(codecs.heartbeats.encode({ ...beat, sequence: 2, state: 'stopped' }))
  await eventually(() => directory.dispatchers()).toEqual([])
})

test('those of the past are not listed, and what is no heartbeat is passed by with an alarm', async () => {
  await append(codecs.heartbeats.encode(beatOfThePast))
  environment.now += 60_000
  await append(null)
  await append(Buffer.from('garbage'))
  await append(
    codecs.heartbeats.encode({ ...beatOfThePast, replica: 'odd' as ReplicaId, address: 'file:///etc/passwd' }),
  )
  await append(codecs.heartbeats.encode({ ...beatOfThePast, replica: 'odd' as ReplicaId, address: 'http://host/path' }))
  const shard = await startShard('a')
  const directory = await follow()
  await eventually(() => addresses(directory)).toEqual([shard.address])
  expect(dropped(directory)).toEqual({
    a: null,
    'of the past': expect.stringMatching(/^it was not heard of for 60\.0 s/),
  })
  expect(alarms.map(({ code }) => code)).toEqual(['record-undecodable'])
})
