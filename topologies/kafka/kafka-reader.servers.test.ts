import { promisify } from 'node:util'
import { zstdCompress } from 'node:zlib'
import kafkajs from 'kafkajs'
import lz4 from 'lz4js'
import snappy from 'snappyjs'
import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { asOffset } from '../../schemas/ids.ts'
import type { AppendedRecord, LogRecord } from '../event-log.ts'
import { accessCluster } from './cluster-access.ts'
import { lz4Codec, snappyCodec, zstdCodec } from './compression-codecs.ts'
import { eventually, KafkaFixture, p, pollCount, record, textOf } from './testing/kafka-fixture.ts'

let fixture: KafkaFixture

beforeEach(() => {
  fixture = new KafkaFixture(inject('servers').kafkaBrokers)
})
afterEach(() => fixture.close())

const { CompressionCodecs, CompressionTypes } = kafkajs

/** lz4js does not say that its only block stands alone, which Kafka asks for: the flag, and the checksum of the header. */
function compressLz4(bytes: Buffer): Buffer {
  const frame = Buffer.from(lz4.compress(bytes))
  frame.set([0x60, 0x70, 0x73], 4)
  return frame
}

test.each([
  ['Snappy', CompressionTypes.Snappy, snappyCodec, async (bytes: Buffer) => snappy.compress(bytes)],
  ['LZ4', CompressionTypes.LZ4, lz4Codec, async (bytes: Buffer) => compressLz4(bytes)],
  ['ZSTD', CompressionTypes.ZSTD, zstdCodec, promisify<Buffer, Buffer>(zstdCompress)],
] as const)('batches that a foreign producer compressed with %s are read', async (_, compression, codec, compress) => {
  const { topic } = fixture
  CompressionCodecs[compression] = () => ({ ...codec, compress: ({ buffer }: { buffer: Buffer }) => compress(buffer) })
  await fixture.createTopic(1)
  const producer = fixture.kafka.producer({ createPartitioner: kafkajs.Partitioners.DefaultPartitioner })
  await producer.connect()
  const values = Array.from({ length: 500 }, (_, i) => `chair ${i} `.repeat(20))
  await producer.send({ topic, compression, messages: values.map(value => ({ value })) })
  await producer.disconnect()
  const reader = await fixture.log.openReader({ topic, partitions: [p(0)], from: new Map() })
  expect((await pollCount(reader, 500)).map(textOf)).toEqual(values)
  const middle = new Map([[p(0), asOffset(250)]])
  const second = await fixture.log.openReader({ topic, partitions: [p(0)], from: middle })
  expect((await pollCount(second, 250)).map(textOf)).toEqual(values.slice(250))
})

test('of a transaction nothing is read before it ends, and nothing if it is aborted; its markers are passed', async () => {
  await fixture.createTopic(1)
  const { topic, log } = fixture
  const producer = fixture.kafka.producer({ transactionalId: topic, maxInFlightRequests: 1, idempotent: true })
  await producer.connect()
  const reader = await log.openReader({ topic, partitions: [p(0)], from: new Map() })
  const aborted = await producer.transaction()
  await aborted.send({ topic, messages: [{ value: 'aborted' }] })
  await log.append(topic, [record(p(0), 'behind the open transaction')])
  expect(await reader.poll(10, 300)).toEqual([])
  expect(reader.position(p(0))).toBe(0)
  await aborted.abort()
  expect((await pollCount(reader, 1)).map(textOf)).toEqual(['behind the open transaction'])
  const committed = await producer.transaction()
  await committed.send({ topic, messages: [{ value: 'committed' }] })
  await committed.commit()
  expect((await pollCount(reader, 1)).map(textOf)).toEqual(['committed'])
  const { end } = (await log.offsets(topic)).get(p(0))!
  expect(end).toBe(5)
  await eventually(() => expect(reader.position(p(0))).toBe(end))
  await producer.disconnect()
})

test('a reader passes what log compaction removed, to the end of the log', async () => {
  await fixture.createTopic(1, { compacted: true })
  const { topic, log } = fixture
  const admin = await fixture.admin()
  await admin.alterConfigs({
    validateOnly: false,
    resources: [
      {
        type: kafkajs.ConfigResourceTypes.TOPIC,
        name: topic,
        configEntries: Object.entries({
          'cleanup.policy': 'compact',
          'segment.ms': '300',
          'segment.bytes': `${2 ** 20}`,
          'min.cleanable.dirty.ratio': '0.01',
          'max.compaction.lag.ms': '300',
          'delete.retention.ms': '0',
          'message.timestamp.type': 'LogAppendTime',
        }).map(([name, value]) => ({ name, value })),
      },
    ],
  })
  const keys = ['stool', 'bench', 'chair']
  await log.append(
    topic,
    keys.map(key => record(p(0), 'listed', key)),
  )
  const deleted = keys.map(key => ({ partition: p(0), key: Buffer.from(key), value: null }))
  await fixture.openLog().append(topic, deleted)
  // What log compaction leaves of both is the last batch of each producer, empty. The next record is so large that it
  // cannot be moved to their segment, so an answer that begins with them holds nothing else.
  const later = fixture.openLog({ maxRecordBytes: 1_048_500 })
  const large = { ...record(p(0), '', 'large'), value: Buffer.alloc(1_048_440) }
  const { cluster, close } = accessCluster(fixture.kafka)
  await cluster.connect()
  await cluster.addTargetTopic(topic)
  await eventually(async () => {
    // A segment closes when a record comes after its time, and only closed ones are compacted.
    const [{ offset: last }] = (await later.append(topic, [large])) as [AppendedRecord]
    expect(last).toBeGreaterThan(6)
    const broker = await cluster.findBroker({ nodeId: '1' })
    const partitions = [{ partition: 0, fetchOffset: '0', maxBytes: 10 * 2 ** 20 }]
    const { responses } = await broker.fetch({ maxWaitTime: 0, topics: [{ topic, partitions }] })
    expect(responses[0].partitions[0].messages.length).toBe(0)
  })
  await close()
  const { end } = (await log.offsets(topic)).get(p(0))!
  const reader = await log.openReader({ topic, partitions: [p(0)], from: new Map() })
  const read: LogRecord[] = []
  while (reader.position(p(0)) < end) read.push(...(await reader.poll(1_000, 100)))
  expect(new Set(read.map(({ key }) => Buffer.from(key!).toString()))).toEqual(new Set(['large']))
  expect(read.at(-1)!.offset).toBe(end - 1)
})

test('a position that the log’s start has passed is out of range, before reading and while reading, never skipped', async () => {
  await fixture.createTopic(2)
  const { topic, log } = fixture
  const admin = await fixture.admin()
  await log.append(
    topic,
    [...Array(10).keys()].flatMap(i => [record(p(0), `${i}`), record(p(1), `${i}`)]),
  )
  const at = new Map([[p(0), asOffset(10)]])
  const reader = await log.openReader({ topic, partitions: [p(0)], from: at })
  expect(await reader.poll(1, 0)).toEqual([])
  reader.pause([p(0)])
  // Ends the fetch that is under way; the paused partition begins no other.
  await log.append(topic, [record(p(0), '10')])
  for (let i = 11; i < 20; i++) await log.append(topic, [record(p(0), `${i}`)])
  // Makes this client learn the leaders, which the deletion does not do by itself.
  await admin.fetchTopicOffsets(topic)
  await admin.deleteTopicRecords({ topic, partitions: [{ partition: 0, offset: '19' }] })
  reader.resume([p(0)])
  const outOfRange = { code: 'offset-out-of-range' }
  await expect(pollCount(reader, 10)).rejects.toMatchObject(outOfRange)
  await expect(reader.poll(1, 0)).rejects.toMatchObject(outOfRange)
  expect(log.readerFailures()).toMatchObject([outOfRange])
  await expect(log.openReader({ topic, partitions: [p(0)], from: at })).rejects.toMatchObject({
    ...outOfRange,
    details: { partition: 0, offset: 10, start: 19, end: 20 },
  })
  const anew = await log.openReader({ topic, partitions: [p(0)], from: new Map() })
  expect((await pollCount(anew, 1)).map(textOf)).toEqual(['19'])
  await reader.close()
  expect(log.readerFailures()).toEqual([])
})

test('a topic that is deleted ends its readers and refuses appends', async () => {
  await fixture.createTopic(1)
  const { topic, log } = fixture
  const admin = await fixture.admin()
  const reader = await log.openReader({ topic, partitions: [p(0)], from: new Map() })
  await log.append(topic, [record(p(0), 'a')])
  await pollCount(reader, 1)
  await admin.deleteTopics({ topics: [topic] })
  const missing = { code: 'topic-missing' }
  await expect(log.append(topic, [record(p(0), 'b')])).rejects.toMatchObject(missing)
  await expect(pollCount(reader, 1)).rejects.toMatchObject(missing)
  expect(log.readerFailures()).toMatchObject([missing])
})

test('sixty-four partitions are read whole and in order', async () => {
  await fixture.createTopic(64)
  const { topic, log } = fixture
  const partitions = Array.from({ length: 64 }, (_, i) => p(i))
  const values = Array.from({ length: 200 }, (_, i) => `${i}`)
  const reader = await log.openReader({ topic, partitions, from: new Map() })
  await Promise.all(
    values.map(value =>
      log.append(
        topic,
        partitions.map(partition => record(partition, value)),
      ),
    ),
  )
  const read = Map.groupBy(await pollCount(reader, 64 * 200), ({ partition }) => partition)
  for (const partition of partitions) expect(read.get(partition)!.map(textOf)).toEqual(values)
})

test('a partition whose records are left lying does not hold up another', async () => {
  await fixture.createTopic(2)
  const { topic, log } = fixture
  // More than a reader buffers.
  const large = Array.from({ length: 40 }, () => ({ ...record(p(0), ''), value: Buffer.alloc(900_000) }))
  await log.append(topic, large)
  const reader = await log.openReader({ topic, partitions: [p(0), p(1)], from: new Map() })
  await pollCount(reader, 1)
  reader.pause([p(0)])
  await log.append(topic, [record(p(1), 'live')])
  expect((await pollCount(reader, 1)).map(textOf)).toEqual(['live'])
  reader.resume([p(0)])
  const rest = await pollCount(reader, 39)
  expect(rest.map(({ offset }) => offset)).toEqual(Array.from({ length: 39 }, (_, i) => i + 1))
})

test('fixed partitions need no group, and commit to one that has no members', async () => {
  await fixture.createTopic(2)
  const { topic, log } = fixture
  const group = `${topic}-group`
  const admin = await fixture.admin()
  await log.append(topic, [record(p(0), 'a'), record(p(0), 'b'), record(p(1), 'c')])
  const open = () => log.openReader({ topic, partitions: [p(0)], group, from: 'committed' })
  const [first, second] = await Promise.all([open(), open()])
  expect((await pollCount(first, 2)).map(textOf)).toEqual(['a', 'b'])
  expect((await pollCount(second, 2)).map(textOf)).toEqual(['a', 'b'])
  expect((await admin.listGroups()).groups.map(({ groupId }) => groupId)).not.toContain(group)
  await first.commit(
    new Map([
      [p(0), asOffset(1)],
      [p(1), asOffset(1)],
    ]),
  )
  expect(await log.committed(group, topic)).toEqual(new Map([[p(0), 1]]))
  expect((await pollCount(await open(), 1)).map(textOf)).toEqual(['b'])
  await log.openReader({ topic, partitions: 'group', group, from: 'committed' })
  await expect(first.commit(new Map([[p(0), asOffset(2)]]))).rejects.toMatchObject({ code: 'bad-request' })
  expect(await log.committed(group, topic)).toEqual(new Map([[p(0), 1]]))
})
