import { afterEach, beforeEach, expect, test } from 'vitest'
import { asOffset, asPartition } from '../../schemas/ids.ts'
import type { LogReader } from '../event-log.ts'
import { EmbeddedEventLog } from './embedded-event-log.ts'
import { TemporaryEnvironment } from './testing/temporary-environment.ts'

const topic = 'shared'
const group = 'members'
const partitions = [0, 1, 2, 3].map(asPartition)
let temporary: TemporaryEnvironment
let log: EmbeddedEventLog

beforeEach(async () => {
  temporary = await TemporaryEnvironment.create()
  log = new EmbeddedEventLog(await temporary.open())
  await log.ensureTopic({
    name: topic,
    partitions: partitions.length,
    compacted: false,
    retentionMs: null,
    minCompactionLagMs: 0,
    tombstoneRetentionMs: 0,
  })
  await log.append(
    topic,
    partitions.map(partition => ({ partition, key: null, value: Buffer.from('one') })),
  )
})

afterEach(() => temporary.dispose())

const join = () => log.openReader({ topic, partitions: 'group', group, from: 'committed' })
const commitAll = (reader: LogReader) => reader.commit(new Map(partitions.map(one => [one, asOffset(1)] as const)))

test('members share the partitions in turn, and each join or leave is a new epoch that a poll tells', async () => {
  const one = await join()
  expect(one.assignment()).toEqual({ epoch: 1, partitions })
  const waiting = one.poll(10, 30_000)
  expect(await waiting).toHaveLength(4)
  const woken = one.poll(10, 30_000)
  const other = await join()
  expect(await woken).toEqual([])
  expect(one.assignment()).toEqual({ epoch: 2, partitions: [0, 2] })
  expect(other.assignment()).toEqual({ epoch: 1, partitions: [1, 3] })
  await one.close()
  expect(other.assignment().epoch).toBe(1)
  expect(await other.poll(10, 30_000)).toEqual([])
  expect(other.assignment()).toEqual({ epoch: 2, partitions })
})

test('a new epoch begins at what is committed, with nothing paused', async () => {
  const one = await join()
  expect(await one.poll(10, 0)).toHaveLength(4)
  await one.commit(new Map([[partitions[0]!, asOffset(1)]]))
  one.pause(partitions)
  const other = await join()
  await other.close()
  expect(await one.poll(10, 0)).toEqual([])
  expect((await one.poll(10, 0)).map(({ partition }) => partition)).toEqual([1, 2, 3])
})

test('who does not know the assignment, or has left, commits nothing', async () => {
  const one = await join()
  const other = await join()
  await commitAll(one)
  expect(await log.committed(group, topic)).toEqual(new Map())
  await one.close()
  await commitAll(one)
  expect(await log.committed(group, topic)).toEqual(new Map())
  await other.poll(10, 0)
  await commitAll(other)
  expect((await log.committed(group, topic)).size).toBe(4)
})
