import { afterEach, beforeEach, expect, test } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, asPartition } from '../../schemas/ids.ts'
import { EmbeddedEventLog } from './embedded-event-log.ts'
import type { EmbeddedEnvironment, TableName } from './environment.ts'
import { TemporaryEnvironment } from './testing/temporary-environment.ts'

const p0 = asPartition(0)
const spec = {
  name: 't',
  partitions: 2,
  compacted: false,
  retentionMs: null,
  minCompactionLagMs: 0,
  tombstoneRetentionMs: 0,
}
const record = { partition: p0, key: Buffer.from('k'), value: Buffer.from('v') }

let temporary: TemporaryEnvironment
let environment: EmbeddedEnvironment
let log: EmbeddedEventLog

beforeEach(async () => {
  temporary = await TemporaryEnvironment.create()
  environment = await temporary.open()
  log = new EmbeddedEventLog(environment)
  await log.ensureTopic(spec)
})

afterEach(() => temporary.dispose())

test('append times are the clock’s, and do not go back with it, not even over a restart', async () => {
  const timeOf = async () => (await log.append('t', [record]))[0]!.appendTimeMs - temporaryStart
  const temporaryStart = temporary.now
  temporary.now += 10
  expect(await timeOf()).toBe(10)
  temporary.now -= 5
  expect(await timeOf()).toBe(10)
  log = new EmbeddedEventLog(await temporary.open())
  expect(await timeOf()).toBe(10)
  temporary.now += 20
  expect(await timeOf()).toBe(25)
})

test('the bytes appended are those at the time of the call', async () => {
  const value = Buffer.from('before')
  const appended = log.append('t', [{ ...record, value }])
  value.fill(0)
  await appended
  const reader = await log.openReader({ topic: 't', partitions: [p0], from: new Map() })
  expect(Buffer.from((await reader.poll(1, 0))[0]!.value!).toString()).toBe('before')
})

test('records read stay as they were while the storage goes on', async () => {
  const values = Array.from({ length: 20 }, (_, index) => Buffer.alloc(10_000, index))
  await log.append(
    't',
    values.map(value => ({ ...record, value })),
  )
  const reader = await log.openReader({ topic: 't', partitions: [p0], from: new Map() })
  const read = await reader.poll(20, 0)
  for (let round = 0; round < 20; round++) {
    await log.append('t', [{ ...record, value: Buffer.alloc(10_000, 255) }])
    await reader.poll(5, 0)
  }
  read.forEach(({ value }, index) => {
    expect(Buffer.compare(value!, values[index]!)).toBe(0)
  })
})

test('one poll is bounded in bytes, and still returns a record larger than the bound', async () => {
  const large = { ...record, value: Buffer.alloc(7 * 2 ** 20) }
  await log.append('t', [large, large, large, large, large])
  const reader = await log.openReader({ topic: 't', partitions: [p0], from: new Map() })
  const counts: number[] = []
  for (let read = 0; read < 5; read += counts.at(-1)!) counts.push((await reader.poll(100, 0)).length)
  expect(counts).toEqual([3, 2])
})

test('a record for a partition the topic does not have is refused', async () => {
  const stray = { ...record, partition: asPartition(2) }
  await expect(log.append('t', [record, stray])).rejects.toMatchObject({ code: 'misrouted' })
  await expect(log.openReader({ topic: 't', partitions: [asPartition(2)], from: new Map() })).rejects.toMatchObject({
    code: 'misrouted',
  })
  expect((await log.offsets('t')).get(p0)).toEqual({ start: 0, end: 0 })
})

test('durations of a topic may change, compaction may not', async () => {
  await log.ensureTopic({ ...spec, retentionMs: 5 })
  await expect(log.ensureTopic({ ...spec, compacted: true })).rejects.toMatchObject({
    code: 'topic-mismatch',
    details: { existing: { partitions: 2, compacted: false }, required: { partitions: 2, compacted: true } },
  })
  await log.append('t', [record])
  temporary.now += 10
  await environment.compactNow()
  expect((await log.offsets('t')).get(p0)).toEqual({ start: 1, end: 1 })
})

test('topics and groups with names that begin alike are kept apart', async () => {
  await log.ensureTopic({ ...spec, name: 't2' })
  await log.append('t', [record, record])
  await log.append('t2', [record])
  for (const [group, topic, offset] of [
    ['g', 't', 1],
    ['g2', 't', 2],
    ['g', 't2', 1],
  ] as const) {
    const reader = await log.openReader({ topic, partitions: [p0], group, from: new Map() })
    await reader.commit(new Map([[p0, asOffset(offset)]]))
  }
  expect(await log.committed('g', 't')).toEqual(new Map([[p0, 1]]))
  expect(await log.committed('g2', 't')).toEqual(new Map([[p0, 2]]))
  expect(await log.committed('g', 't2')).toEqual(new Map([[p0, 1]]))
  expect(await log.committed('', 't')).toEqual(new Map())
})

test('a reader without a group cannot commit, and one from commits needs its group', async () => {
  const reader = await log.openReader({ topic: 't', partitions: [p0], from: new Map() })
  await expect(reader.commit(new Map([[p0, asOffset(0)]]))).rejects.toMatchObject({ code: 'bad-request' })
  await expect(log.openReader({ topic: 't', partitions: [p0], from: 'committed' })).rejects.toMatchObject({
    code: 'bad-request',
  })
  expect(() => reader.position(asPartition(1))).toThrow('not assigned')
})

test('a caller that only polls and never waits leaves the event loop free', async () => {
  await log.append('t', Array(500).fill(record))
  const reader = await log.openReader({ topic: 't', partitions: [p0], from: new Map() })
  let ticks = 0
  const count = () => {
    ticks++
    immediate = setImmediate(count)
  }
  let immediate = setImmediate(count)
  while ((await reader.poll(1, 0)).length > 0);
  clearImmediate(immediate)
  expect(ticks).toBeGreaterThan(400)
})

test.each([1, 2, 3])(
  'a deletion that is cut short after %i writes is finished by the next one, and no row is left',
  async writes => {
    const group = { topic: 't', partitions: [p0], group: 'g', from: new Map() }
    await log.append(
      't',
      Array.from({ length: 1_200 }, (_, n) => ({ ...record, key: Buffer.from(`k${n % 700}`) })),
    )
    await log.ensureTopic({ ...spec, name: 'other' })
    await log.append('other', [record])
    const reader = await log.openReader(group)
    await reader.commit(new Map([[p0, asOffset(3)]]))
    const write = environment.write.bind(environment)
    let left = writes
    environment.write = (operations, options) =>
      left-- > 0
        ? write(operations, options)
        : Promise.reject(new FreshetError('storage-failed', 'the process is gone'))
    await expect(log.deleteTopic('t')).rejects.toMatchObject({ code: 'storage-failed' })

    environment = await temporary.open()
    log = new EmbeddedEventLog(environment)
    expect(await log.topicSpec('t')).toBeNull()
    await log.deleteTopic('t')
    const all = { start: Buffer.from([0]), end: Buffer.from([0xff]) }
    const rowsOf = (table: TableName) => [...environment.range(table, all)].length
    expect([rowsOf('records'), rowsOf('groupOffsets'), rowsOf('lastOffsets'), rowsOf('partitions')]).toEqual([
      1, 0, 0, 0,
    ])
    await log.ensureTopic(spec)
    expect((await log.append('t', [record]))[0]!.offset).toBe(0)
    expect((await log.offsets('other')).get(p0)).toEqual({ start: 0, end: 1 })
  },
)

test('a deletion that cannot begin leaves the topic as it was', async () => {
  await log.append('t', [record])
  const write = environment.write.bind(environment)
  environment.write = () => Promise.reject(new FreshetError('storage-full', 'the disk is full'))
  await expect(log.deleteTopic('t')).rejects.toMatchObject({ code: 'storage-full' })
  environment.write = write
  expect((await log.append('t', [record]))[0]!.offset).toBe(1)
})
