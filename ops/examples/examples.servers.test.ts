import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { type Codecs, openCodecs, registerSchemas } from '../../schemas/avro/codec.ts'
import type { DeadLetter } from '../../schemas/dead-letter.ts'
import { asOffset, asPartition, type Generation, type ItemId } from '../../schemas/ids.ts'
import type { Mutation } from '../../schemas/mutation.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { sampleRecords } from '../../schemas/testing/sample-records.ts'
import { catalogTopic, deadLetterTopic, mutationTopic, subjects } from '../../schemas/topics.ts'
import { ConfluentSchemaRegistry } from '../../topologies/confluent/confluent-schema-registry.ts'
import { emptyRegistry } from '../../topologies/confluent/testing/empty-registry.ts'
import type { LogRecord } from '../../topologies/event-log.ts'
import { KafkaEventLog } from '../../topologies/kafka/kafka-event-log.ts'
import { KafkaBroker } from '../../topologies/servers/kafka-broker.ts'
import { applyTopics, mutationTopicSpec, type TopicConfig, topicSpecs } from '../topic-set-up.ts'
import { java, python, type RunExample } from './testing/foreign-clients.ts'

/** The topics have their real names, so the broker is our own. */
const registryUrl = inject('servers').registryUrl
const config: TopicConfig = {
  partitions: 8,
  log: { compactionLagMs: 3_600_000 },
  dispatch: { tombstoneRetentionMs: 604_800_000 },
}
const mutations = mutationTopic('g1' as Generation)

let broker: KafkaBroker
let registry: ConfluentSchemaRegistry
let log: KafkaEventLog
let codecs: Codecs

beforeAll(async () => {
  broker = await KafkaBroker.start()
  await emptyRegistry(registryUrl)
  registry = new ConfluentSchemaRegistry({ urls: [registryUrl], timeoutMs: 10_000 })
  await registerSchemas(registry)
  codecs = await openCodecs(registry)
  log = new KafkaEventLog({ brokers: broker.brokers, clientId: 'examples' })
  const wanted = [...topicSpecs(config), mutationTopicSpec(config, 'g1' as Generation)]
  await applyTopics(log, wanted, codecs.catalog)
})
afterAll(async () => {
  await log?.close()
  await registry?.close()
  await emptyRegistry(registryUrl)
  await broker?.stop()
})

describe.each([python, java])('the example in $language', ({ language, prepare }) => {
  let run: RunExample
  const itemIds = ['sofa-1', 'Stühle/7 ü'].map(id => `${language}/${id}` as ItemId)

  beforeAll(async () => {
    run = await prepare()
  }, 300_000)

  /** As the examples take the servers: Python by name, Java by place. */
  const atServers = (...args: readonly string[]): readonly string[] => {
    const brokers = broker.brokers.join(',')
    return language === 'Java'
      ? [brokers, registryUrl, ...args]
      : ['--brokers', brokers, '--registry', registryUrl, ...args]
  }

  test('publishes upserts that lie where we look for them and read as events', async () => {
    for (const itemId of itemIds)
      await run('publish', atServers('upsert', itemId, 'https://shop.example/1.jpg', 'Grünes Sofa'))
    for (const itemId of itemIds) {
      const [record] = await recordsOf(itemId)
      expect(record!.partition).toBe(partitionOf(itemId, config.partitions))
      expect(codecs.catalog.decode(record!.value!)).toEqual({
        type: 'ItemUpserted',
        itemId,
        images: ['https://shop.example/1.jpg'],
        imageVersion: '',
        refresh: false,
        title: 'Grünes Sofa',
        category: 'sofas',
        price: 799,
        currency: 'EUR',
        regions: ['de'],
        available: true,
        attributes: { colour: 'green' },
      })
    }
  })

  test('publishes a delete as a record of the item without a value', async () => {
    const itemId = itemIds[0]!
    await run('publish', atServers('delete', itemId))
    const last = (await recordsOf(itemId)).at(-1)!
    expect(last).toMatchObject({ partition: partitionOf(itemId, config.partitions), value: null })
  })

  test('reads our mutations and dead letters', async () => {
    const written = sampleRecords[subjects.mutations] as readonly Mutation[]
    await appendAll(
      mutations,
      written.map(record => codecs.mutations.encode(record)),
    )
    const [letter] = sampleRecords[subjects.deadLetters] as readonly DeadLetter[]
    await appendAll(deadLetterTopic, [codecs.deadLetters.encode(letter!)])

    const lines = await run('read', atServers(mutations))
    for (const { type } of written) expect(lines.join('\n')).toContain(type)
    const [letterLine] = await run('read', atServers(deadLetterTopic))
    expect(letterLine).toContain(letter!.message)
  })
})

async function appendAll(topic: string, values: readonly Uint8Array[]): Promise<void> {
  const partition = asPartition(0)
  await log.append(
    topic,
    values.map((value, i) => ({ partition, key: Buffer.from(`k${i}`), value })),
  )
}

/** All records of the catalog with this key, in order. */
async function recordsOf(itemId: ItemId): Promise<readonly LogRecord[]> {
  const offsets = await log.offsets(catalogTopic)
  const reader = await log.openReader({ topic: catalogTopic, partitions: [...offsets.keys()], from: new Map() })
  const records: LogRecord[] = []
  try {
    while ([...offsets].some(([partition, { end }]) => reader.position(partition) < (end ?? asOffset(0))))
      records.push(...(await reader.poll(100, 1_000)))
  } finally {
    await reader.close()
  }
  return records.filter(({ key }) => key !== null && Buffer.from(key).toString() === itemId)
}
