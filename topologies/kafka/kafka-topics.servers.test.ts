import kafkajs, { type IResourceConfigEntry } from 'kafkajs'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { asOffset } from '../../schemas/ids.ts'
import { accessCluster } from './cluster-access.ts'
import { GroupOffsets } from './group-offsets.ts'
import { KafkaFixture, p, pollCount, record } from './testing/kafka-fixture.ts'

let fixture: KafkaFixture

beforeEach(() => {
  fixture = new KafkaFixture(inject('servers').kafkaBrokers)
})
afterEach(() => fixture.close())

const resource = () => ({ type: kafkajs.ConfigResourceTypes.TOPIC, name: fixture.topic })

async function settingsOfTopic(): Promise<Readonly<Record<string, string>>> {
  const admin = await fixture.admin()
  const { resources } = await admin.describeConfigs({ includeSynonyms: false, resources: [resource()] })
  return Object.fromEntries(resources[0]!.configEntries.map(({ configName, configValue }) => [configName, configValue]))
}

async function alterTopic(configEntries: IResourceConfigEntry[]): Promise<void> {
  const admin = await fixture.admin()
  await admin.alterConfigs({ validateOnly: false, resources: [{ ...resource(), configEntries }] })
}

test('a topic gets the broker’s append times and room for the largest record', async () => {
  await fixture.createTopic(2, { compacted: true, minCompactionLagMs: 60_000, tombstoneRetentionMs: 120_000 })
  expect(await settingsOfTopic()).toMatchObject({
    'cleanup.policy': 'compact',
    'retention.ms': '-1',
    'min.compaction.lag.ms': '60000',
    'delete.retention.ms': '120000',
    'message.timestamp.type': 'LogAppendTime',
    'max.message.bytes': '1065536',
  })
})

test('ensuring a topic again sets what differs and leaves the other settings', async () => {
  await fixture.createTopic(1)
  await alterTopic([{ name: 'segment.ms', value: '123456' }])
  expect(await settingsOfTopic()).toMatchObject({ 'message.timestamp.type': 'CreateTime' })
  expect(await fixture.log.topicSpec(fixture.topic)).toHaveProperty('producerTimes', true)
  await fixture.createTopic(1, { retentionMs: 3_600_000 })
  expect(await settingsOfTopic()).toMatchObject({
    'segment.ms': '123456',
    'retention.ms': '3600000',
    'message.timestamp.type': 'LogAppendTime',
  })
  expect(await fixture.log.topicSpec(fixture.topic)).not.toHaveProperty('producerTimes')
})

test('a topic that expires as well as compacts is told so', async () => {
  const spec = { compacted: true, retentionMs: 3_600_000 }
  await fixture.createTopic(1, spec)
  expect(await settingsOfTopic()).toMatchObject({ 'cleanup.policy': 'compact,delete' })
  expect(await fixture.log.topicSpec(fixture.topic)).toMatchObject(spec)
})

test('the record that the broker finds too large is refused, its neighbours are not', async () => {
  await fixture.createTopic(2)
  const { topic, log } = fixture
  await alterTopic([{ name: 'max.message.bytes', value: '10000' }])
  const large = { ...record(p(0), ''), value: Buffer.alloc(20_000) }
  const appends = [[record(p(0), 'a')], [large], [record(p(1), 'b')], [record(p(0), 'c')]]
  const outcomes = await Promise.allSettled(appends.map(records => log.append(topic, records)))
  expect(outcomes.map(({ status }) => status)).toEqual(['fulfilled', 'rejected', 'fulfilled', 'fulfilled'])
  expect(outcomes[1]).toMatchObject({ reason: { code: 'record-too-large' } })
})

test('the coordinator refuses a commit under an assignment that has ended', async () => {
  await fixture.createTopic(1)
  const { topic, log, kafka } = fixture
  await log.append(topic, [record(p(0), 'a')])
  const reader = await log.openReader({ topic, partitions: 'group', group: topic, from: 'committed' })
  await pollCount(reader, 1)
  await reader.commit(new Map([[p(0), asOffset(1)]]))
  const { cluster, close } = accessCluster(kafka)
  await cluster.connect()
  const offsets = new GroupOffsets({ cluster, group: topic, topic, clock: Date.now, patienceMs: 5_000 })
  const back = new Map([[p(0), asOffset(0)]])
  const admin = await fixture.admin()
  const { memberId } = (await admin.describeGroups([topic])).groups[0]!.members[0]!
  expect(await offsets.commit(back, { memberId, groupGeneration: 0 })).toBe(false)
  expect(await offsets.commit(back, { memberId: 'gone', groupGeneration: 1 })).toBe(false)
  expect(await log.committed(topic, topic)).toEqual(new Map([[p(0), 1]]))
  await close()
})
