import { afterAll, afterEach, beforeAll, beforeEach, expect, test } from 'vitest'
import { asOffset } from '../../schemas/ids.ts'
import { KafkaBroker } from '../servers/kafka-broker.ts'
import { accessCluster } from './cluster-access.ts'
import { lostOf, readWhole, SteadyAppender } from './testing/append-and-check.ts'
import { eventually, KafkaFixture, p, pollCount, record, textOf, untilReassigned } from './testing/kafka-fixture.ts'

const partitions = 8
const all = Array.from({ length: partitions }, (_, i) => p(i))
let cluster: KafkaBroker
let fixture: KafkaFixture

beforeAll(async () => {
  cluster = await KafkaBroker.start({ nodes: 3 })
}, 120_000)
afterAll(() => cluster?.stop())
beforeEach(async () => {
  fixture = new KafkaFixture(cluster.brokers, { sessionTimeoutMs: 3_000 })
  await fixture.createTopic(partitions)
})
afterEach(() => fixture.close())

const progress = (appender: SteadyAppender, records: number) => {
  const target = appender.acknowledged.length + records
  return eventually(() => expect(appender.acknowledged.length).toBeGreaterThan(target))
}

test('no acknowledged record is lost while leaders are killed, and each lies where it was acknowledged', async () => {
  const { topic, log } = fixture
  const following = await log.openReader({ topic, partitions: all, from: new Map() })
  const appender = new SteadyAppender(log, topic, partitions)
  for (const nodeId of [1, 2, 3, 1]) {
    await progress(appender, 2_000)
    await cluster.kill(nodeId)
    await progress(appender, 500)
    await cluster.startAgain(nodeId)
  }
  await appender.stop()
  const followed = await readWhole(following, log, topic)
  expect(lostOf(appender, followed)).toEqual([])
  const anew = await readWhole(await log.openReader({ topic, partitions: all, from: new Map() }), log, topic)
  expect(anew).toEqual(followed)
})

test('a group goes on when its coordinator dies', async () => {
  const { topic, log, kafka } = fixture
  const group = `${topic}-group`
  const reader = await log.openReader({ topic, partitions: 'group', group, from: 'committed' })
  await log.append(topic, [record(p(0), 'before')])
  await pollCount(reader, 1)
  await reader.commit(new Map([[p(0), asOffset(1)]]))
  const { cluster: access, close } = accessCluster(kafka)
  await access.connect()
  await access.addTargetTopic(topic)
  const { coordinator } = await access.findGroupCoordinatorMetadata({ groupId: group })
  await close()
  await cluster.kill(coordinator.nodeId)
  await untilReassigned(reader)
  expect(reader.assignment().partitions).toEqual(all)
  await log.append(topic, [record(p(0), 'after')])
  expect((await pollCount(reader, 1)).map(textOf)).toEqual(['after'])
  await reader.commit(new Map([[p(0), asOffset(2)]]))
  expect(await log.committed(group, topic)).toEqual(new Map([[p(0), 2]]))
  await cluster.startAgain(coordinator.nodeId)
})
