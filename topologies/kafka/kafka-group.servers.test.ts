import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { asOffset, type Partition } from '../../schemas/ids.ts'
import type { LogReader, LogRecord } from '../event-log.ts'
import { eventually, KafkaFixture, p, pollCount, record, textOf, untilReassigned } from './testing/kafka-fixture.ts'

const partitions = [0, 1, 2, 3].map(p)
let fixture: KafkaFixture
let group: string

beforeEach(async () => {
  fixture = new KafkaFixture(inject('servers').kafkaBrokers, { sessionTimeoutMs: 3_000 })
  group = `${fixture.topic}-group`
  await fixture.createTopic(partitions.length)
})
afterEach(() => fixture.close())

const join = (log = fixture.log): Promise<LogReader> =>
  log.openReader({ topic: fixture.topic, partitions: 'group', group, from: 'committed' })
const appendEverywhere = (value: string) =>
  fixture.log.append(
    fixture.topic,
    partitions.map(partition => record(partition, value)),
  )
const next = (records: readonly LogRecord[]) =>
  new Map(records.map(({ partition, offset }) => [partition, asOffset(offset + 1)]))

test('partitions move between readers, each position is committed once and none is lost', async () => {
  const processed = new Map<Partition, number[]>()
  /** As a dispatcher does: a record counts when its commit was taken under the epoch it was read in. */
  const work = async (reader: LogReader, records: number): Promise<void> => {
    let done = 0
    while (done < records) {
      const polled = await reader.poll(7, 100)
      await reader.commit(next(polled))
      for (const { partition, offset } of polled)
        processed.set(partition, [...(processed.get(partition) ?? []), offset])
      done += polled.length
    }
  }
  const first = await join()
  for (let i = 0; i < 10; i++) await appendEverywhere(`${i}`)
  await work(first, 40)
  const joining = join(fixture.openLog({ sessionTimeoutMs: 3_000 }))
  await untilReassigned(first)
  const second = await joining
  expect([...first.assignment().partitions, ...second.assignment().partitions].toSorted()).toEqual(partitions)
  expect(first.assignment().partitions).toHaveLength(2)
  for (let i = 10; i < 20; i++) await appendEverywhere(`${i}`)
  await Promise.all([work(first, 20), work(second, 20)])
  await first.close()
  await untilReassigned(second)
  expect(second.assignment().partitions).toEqual(partitions)
  for (let i = 20; i < 30; i++) await appendEverywhere(`${i}`)
  await work(second, 40)
  const all = Array.from({ length: 30 }, (_, i) => i)
  expect(processed).toEqual(new Map(partitions.map(partition => [partition, all])))
  expect(await fixture.log.committed(group, fixture.topic)).toEqual(new Map(partitions.map(each => [each, 30])))
})

test('what was read and not committed is read again after a rebalance, from the committed offset', async () => {
  const first = await join()
  await appendEverywhere('a')
  await appendEverywhere('b')
  const read = await pollCount(first, 8)
  expect(read.map(textOf).toSorted()).toEqual([...'aaaabbbb'])
  await first.commit(new Map(partitions.map(partition => [partition, asOffset(1)])))
  const joining = join(fixture.openLog())
  await untilReassigned(first)
  const second = await joining
  const again = await Promise.all([first, second].map(reader => pollCount(reader, 2)))
  expect(again.flat().map(textOf)).toEqual(['b', 'b', 'b', 'b'])
})

test('a commit after the assignment ended is left out, so that it cannot move back what another owner committed', async () => {
  const { log, topic } = fixture
  const first = await join()
  await appendEverywhere('a')
  await pollCount(first, 4)
  const second = await join(fixture.openLog())
  // The first reader has not polled since, so it does not know yet.
  const moved = second.assignment().partitions[0]!
  await appendEverywhere('b')
  await pollCount(second, 4)
  await second.commit(new Map([[moved, asOffset(2)]]))
  await first.commit(new Map(partitions.map(partition => [partition, asOffset(1)])))
  expect(await log.committed(group, topic)).toEqual(new Map([[moved, 2]]))
})

test('a reader that is not polled for longer than the session stays in its group', async () => {
  const log = fixture.openLog({ sessionTimeoutMs: 1_000 })
  const reader = await join(log)
  const admin = await fixture.admin()
  const membersOf = async () => (await admin.describeGroups([group])).groups.flatMap(({ members }) => members)
  const [member] = await membersOf()
  const untilMs = performance.now() + 3_000
  await eventually(() => expect(performance.now()).toBeGreaterThan(untilMs))
  expect(await membersOf()).toEqual([member])
  await appendEverywhere('a')
  const read = await pollCount(reader, 4)
  await reader.commit(next(read))
  expect(reader.assignment().epoch).toBe(1)
  expect(await log.committed(group, fixture.topic)).toEqual(new Map(partitions.map(each => [each, 1])))
})

test('a member without partitions gets those of one that leaves', async () => {
  const readers = [await join()]
  while (readers.length <= partitions.length) {
    const joining = join(fixture.openLog())
    await Promise.all(readers.map(untilReassigned))
    readers.push(await joining)
  }
  const idle = readers.find(reader => reader.assignment().partitions.length === 0)!
  expect(await idle.poll(1, 0)).toEqual([])
  const leaving = readers.find(reader => reader !== idle)!
  await leaving.close()
  await untilReassigned(idle)
  expect(idle.assignment().partitions).toHaveLength(1)
})

test('a log that is closed ends the readers that are being opened', async () => {
  const log = fixture.openLog()
  const opening = [join(log), join(log)]
  const outcomes = Promise.allSettled(opening)
  await log.close()
  for (const outcome of await outcomes)
    expect(outcome).toMatchObject({ status: 'rejected', reason: { code: 'log-unavailable' } })
  await expect(log.append(fixture.topic, [record(p(0), 'a')])).rejects.toMatchObject({ code: 'log-unavailable' })
})
