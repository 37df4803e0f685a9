import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { KafkaBroker } from '../servers/kafka-broker.ts'
import { lostOf, readWhole, SteadyAppender } from './testing/append-and-check.ts'
import { eventually, KafkaFixture, p, pollCount, record, textOf } from './testing/kafka-fixture.ts'

const partitions = 4
const all = Array.from({ length: partitions }, (_, i) => p(i))
let broker: KafkaBroker
let fixture: KafkaFixture

beforeAll(async () => {
  broker = await KafkaBroker.start()
})
afterAll(() => broker?.stop())
beforeEach(async () => {
  fixture = new KafkaFixture(broker.brokers)
  await fixture.createTopic(partitions)
})
afterEach(() => fixture.close())

test('a broker killed and started again under append and read costs nothing but time', async () => {
  const { topic, log } = fixture
  const following = await log.openReader({ topic, partitions: all, from: new Map() })
  const appender = new SteadyAppender(log, topic, partitions)
  for (let kills = 0; kills < 2; kills++) {
    const target = appender.acknowledged.length + 1_000
    await eventually(() => expect(appender.acknowledged.length).toBeGreaterThan(target))
    await broker.kill()
    await broker.startAgain()
  }
  await appender.stop()
  expect(lostOf(appender, await readWhole(following, log, topic))).toEqual([])
})

test('while the broker is away appends wait, to a bound and to their patience, in order; a reader says so and goes on', async () => {
  const { topic } = fixture
  const impatient = fixture.openLog({ patienceMs: 2_000 })
  const patient = fixture.openLog({ maxUnacknowledgedBytes: 100_000 })
  const reader = await impatient.openReader({ topic, partitions: all, from: new Map() })
  await Promise.all([impatient, patient].map(log => log.append(topic, [record(p(0), 'before')])))
  await pollCount(reader, 2)
  await broker.kill()
  const unavailable = { code: 'log-unavailable', retryable: true }
  const large = Array.from({ length: 5 }, (_, i) => ({ ...record(p(1), ''), value: Buffer.alloc(50_000, i) }))
  const waiting = large.map(each => patient.append(topic, [each]))
  await expect(impatient.append(topic, [record(p(0), 'too late')])).rejects.toMatchObject(unavailable)
  await expect(pollCount(reader, 1)).rejects.toMatchObject(unavailable)
  expect(impatient.readerFailures()).toMatchObject([unavailable])
  await expect(impatient.offsets(topic)).rejects.toMatchObject(unavailable)
  await broker.startAgain()
  expect((await Promise.all(waiting)).flat().map(({ offset }) => offset)).toEqual([0, 1, 2, 3, 4])
  await patient.append(topic, [record(p(2), 'after')])
  await eventually(() => expect(impatient.readerFailures()).toEqual([]))
  const read: string[] = []
  while (!read.includes('after')) read.push(...(await reader.poll(100, 1_000)).map(textOf))
})

test('a reader of a group says that it is out of it as soon as the broker is gone, and until it has partitions again', async () => {
  const { topic } = fixture
  const log = fixture.openLog({ sessionTimeoutMs: 3_000 })
  const reader = await log.openReader({ topic, partitions: 'group', group: topic, from: 'committed' })
  const { epoch } = reader.assignment()
  expect(log.groupAbsences()).toEqual([])
  await broker.kill()
  await eventually(() => expect(log.groupAbsences()).toMatchObject([{ code: 'log-unavailable', retryable: true }]))
  // Long before the reader itself loses patience.
  expect(log.readerFailures()).toEqual([])
  await broker.startAgain()
  await eventually(async () => {
    expect(await reader.poll(1, 0)).toEqual([])
    expect(reader.assignment().epoch).toBeGreaterThan(epoch)
  })
  await log.append(topic, [record(p(3), 'after')])
  expect((await pollCount(reader, 1)).map(textOf)).toEqual(['after'])
  expect(log.groupAbsences()).toEqual([])
})
