import { afterEach, beforeEach, expect, test, vi } from 'vitest'
import type { Heartbeat } from '../../schemas/heartbeat.ts'
import { asPartition, asShardId, type Partition, type ReplicaId } from '../../schemas/ids.ts'
import type { ReplicaState, ReplicaStatus } from '../../schemas/shard-api.ts'
import { generation } from '../testing/shard-on-log.ts'
import { HeartbeatWriter } from './heartbeat-writer.ts'

interface Beating {
  readonly replica: ReplicaId
  readonly partitions: readonly Partition[]
  state: ReplicaState
  status(): Promise<ReplicaStatus>
}

/** Time is moved by hand. */
beforeEach(() => {
  vi.useFakeTimers({ now: 1_000_000 })
})
afterEach(() => {
  vi.useRealTimers()
})

function beating(name: string): Beating {
  const beats: Beating = {
    replica: name as ReplicaId,
    partitions: [asPartition(0)],
    state: 'catching-up',
    status: async () =>
      ({
        shard: asShardId(0),
        generation,
        state: beats.state,
        applied: { 0: 7 },
        watermark: { 0: 5 },
        indexAgeMs: 12,
      }) as unknown as ReplicaStatus,
  }
  return beats
}

/** A writer on a log that is a list; what `append` does is up to the test. */
function writerOf(replicas: Beating[]) {
  const said: Heartbeat[] = []
  const troubles: string[] = []
  const log = { append: async (): Promise<void> => undefined }
  const writer = new HeartbeatWriter({
    log: {
      append: async (_topic, records) => {
        await log.append()
        said.push(...records.map(({ value }) => JSON.parse(Buffer.from(value!).toString())))
        return []
      },
    },
    codec: { encode: heartbeat => Buffer.from(JSON.stringify(heartbeat)) },
    replicas: () => replicas,
    address: 'http://127.0.0.1:1',
    clock: Date.now,
    onTrouble: ({ message }) => troubles.push(message),
  })
  const told = () => said.splice(0).map(({ replica, state }) => `${replica} ${state}`)
  return { writer, log, said, told, troubles }
}

test('each replica is told of once a second and at each change of its state', async () => {
  const replica = beating('a')
  const { writer, said, told } = writerOf([replica])
  writer.start()
  await vi.advanceTimersByTimeAsync(10)
  expect(said[0]).toEqual({
    type: 'Heartbeat',
    role: 'shard',
    replica: 'a',
    shard: 0,
    generation,
    address: 'http://127.0.0.1:1',
    partitions: [0],
    state: 'catching-up',
    applied: { 0: 7 },
    watermarks: { 0: 5 },
    indexAgeMs: 12,
    startedAtMs: 1_000_000,
    sequence: 0,
    writtenAtMs: 1_000_000,
  })
  told()
  await vi.advanceTimersByTimeAsync(900)
  expect(told()).toEqual([])
  await vi.advanceTimersByTimeAsync(100)
  expect(told()).toEqual(['a catching-up'])
  replica.state = 'ready'
  await vi.advanceTimersByTimeAsync(100)
  expect(told()).toEqual(['a ready'])
  await vi.advanceTimersByTimeAsync(10_000)
  expect(said.map(({ sequence }) => sequence)).toEqual([3, 4, 5, 6, 7, 8, 9, 10, 11, 12])
  await writer.stop()
})

test('one that the process has no longer, and all when it stops, are told to be stopped', async () => {
  const replicas = [beating('a'), beating('b')]
  const { writer, told } = writerOf(replicas)
  writer.start()
  await vi.advanceTimersByTimeAsync(10)
  expect(told()).toEqual(['a catching-up', 'b catching-up'])
  replicas.shift()
  await vi.advanceTimersByTimeAsync(100)
  expect(told()).toEqual(['b catching-up', 'a stopped'])
  await writer.stop()
  expect(told()).toEqual(['b stopped'])
  await vi.advanceTimersByTimeAsync(5_000)
  expect(told()).toEqual([])
})

test('nothing piles up while the log hangs, and stopping does not wait for it for long', async () => {
  const { writer, log, said } = writerOf([beating('a')])
  const gate = Promise.withResolvers<void>()
  let appends = 0
  log.append = () => {
    appends++
    return gate.promise
  }
  writer.start()
  await vi.advanceTimersByTimeAsync(60_000)
  expect(appends).toBe(1)
  const stopped = writer.stop()
  await vi.advanceTimersByTimeAsync(2_000)
  await stopped
  expect(said).toEqual([])
})

test('a log that takes nothing is told once, until it does again', async () => {
  const { writer, log, told, troubles } = writerOf([beating('a')])
  log.append = () => Promise.reject(new Error('away'))
  writer.start()
  await vi.advanceTimersByTimeAsync(5_000)
  expect(troubles).toEqual(['away'])
  log.append = async () => undefined
  await vi.advanceTimersByTimeAsync(1_000)
  expect(told()).toEqual(['a catching-up'])
  log.append = () => Promise.reject(new Error('away again'))
  await vi.advanceTimersByTimeAsync(5_000)
  expect(troubles).toEqual(['away', 'away again'])
  await writer.stop()
})
