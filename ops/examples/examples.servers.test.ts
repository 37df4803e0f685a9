import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { type Codecs, openCodecs, registerSchemas } from '../../schemas/avro/codec.ts'
import type { DeadLetter } from '../../schemas/dead-letter.ts'
import { asOffset, asPartition, type Fingerprint, type Generation, type ItemId } from '../../schemas/ids.ts'
import type { Mutation } from '../../schemas/mutation.ts'
import { partitionOf } from '../../schemas/partition.ts'
import { sampleRecords } from '../../schemas/testing/sample-records.ts'
import { catalogTopic, deadLetterTopic, mutationTopic, subjects } from '../../schemas/topics.ts'
import { ConfluentSchemaRegistry } from '../../topologies/confluent/confluent-schema-registry.ts'
import { emptyRegistry } from '../../topologies/confluent/testing/empty-registry.ts'
import { defaultDispatchSettings } from '../../topologies/dispatch/dispatch-state.ts'
import { DispatchRunner } from '../../topologies/dispatch/runner.ts'
import { EmbeddedFeatureStore } from '../../topologies/embedded/embedded-feature-store.ts'
import { openKeyValueStore } from '../../topologies/embedded/embedded-key-value-store.ts'
import { EmbeddedWorkQueue } from '../../topologies/embedded/embedded-work-queue.ts'
import { EmbeddedEnvironment } from '../../topologies/embedded/environment.ts'
import type { LogRecord } from '../../topologies/event-log.ts'
import { KafkaEventLog } from '../../topologies/kafka/kafka-event-log.ts'
import { KafkaBroker } from '../../topologies/servers/kafka-broker.ts'
import { applyTopics, mutationTopicSpec, type TopicConfig, topicSpecs } from '../topic-set-up.ts'
import { java, python, type RunExample } from './testing/foreign-clients.ts'

const registryUrl = inject('servers').registryUrl
const config: TopicConfig = {
  partitions: 8,
  log: { compactionLagMs: 3_600_000 },
  dispatch: { tombstoneRetentionMs: 604_800_000 },
}
const generation = 'g1' as Generation
/** Its topic holds records made up for the test, which a dispatcher would refuse. */
const sampled = 'samples' as Generation
const runMs = 60_000

let directory: string
let environment: EmbeddedEnvironment
let broker: KafkaBroker
let registry: ConfluentSchemaRegistry
let log: KafkaEventLog
let codecs: Codecs
let dispatcher: DispatchRunner

/** A dispatcher on topics with their real names, so the broker is our own. */
beforeAll(async () => {
  broker = await KafkaBroker.start()
  await emptyRegistry(registryUrl)
  registry = new ConfluentSchemaRegistry({ urls: [registryUrl], timeoutMs: 10_000 })
  await registerSchemas(registry)
  codecs = await openCodecs(registry)
  log = new KafkaEventLog({ brokers: broker.brokers, clientId: 'examples' })
  const wanted = [...topicSpecs(config), ...[generation, sampled].map(each => mutationTopicSpec(config, each))]
  const { topicEpoch } = await applyTopics(log, wanted, codecs.catalog)
  directory = await mkdtemp(join(tmpdir(), 'freshet-examples-'))
  environment = await EmbeddedEnvironment.open({ directory, clock: Date.now })
  const [queue, features] = [new EmbeddedWorkQueue(environment), new EmbeddedFeatureStore(environment)]
  const table = openKeyValueStore(environment, 'items')
  dispatcher = new DispatchRunner(
    { log, queue, features, codecs, table, clock: Date.now },
    {
      settings: {
        ...defaultDispatchSettings,
        generation,
        acceptance: { fingerprint: 'ab'.repeat(32) as Fingerprint, dims: 8, topicEpoch: topicEpoch! },
        partitionCount: config.partitions,
        backfillUntil: Array.from({ length: config.partitions }, () => asOffset(0)),
      },
      onFailure: error => expect.unreachable(error.message),
    },
  )
  await dispatcher.start()
}, 120_000)

afterAll(async () => {
  await dispatcher?.stop()
  await environment?.close()
  await log?.close()
  await registry?.close()
  await emptyRegistry(registryUrl)
  await broker?.stop()
  await rm(directory, { recursive: true })
})

describe.each([python, java])('the examples in $language', ({ language, prepare }) => {
  let run: RunExample
  const itemIds = ['sofa-1', 'Stühle/7 ü'].map(id => `${language}/${id}` as ItemId)

  beforeAll(async () => {
    run = await prepare({ brokers: broker.brokers, registryUrl })
  }, 300_000)

  test('publish upserts that lie where we look for them and read as events', async () => {
    for (const itemId of itemIds) {
      await run('publish', 'upsert', itemId, 'https://shop.example/1.jpg', 'Grünes Sofa')
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

  test('publish a delete as a record of the item without a value', async () => {
    const itemId = itemIds[0]!
    await run('publish', 'delete', itemId)
    const last = (await recordsOf(itemId)).at(-1)!
    expect(last).toMatchObject({ partition: partitionOf(itemId, config.partitions), value: null })
  })

  test('read in the mutation log what became of their events', async () => {
    const [deleted, kept] = itemIds
    let lines: readonly string[] = []
    const linesAbout = (type: string, itemId: string) =>
      lines.filter(line => line.includes(type) && line.includes(itemId))
    const areApplied = async () => {
      lines = await run('read', mutationTopic(generation))
      return linesAbout('ItemRemoved', deleted!).length === 1 && linesAbout('AttributesPut', kept!).length === 1
    }
    await expect.poll(areApplied, { timeout: runMs }).toBe(true)
    expect(linesAbout('ItemRemoved', kept!)).toEqual([])
  })

  test('read every kind of mutation, and dead letters', async () => {
    const written = sampleRecords[subjects.mutations] as readonly Mutation[]
    const mutations = written.map(record => codecs.mutations.encode(record))
    await appendAll(mutationTopic(sampled), mutations)
    const [letter] = sampleRecords[subjects.deadLetters] as readonly DeadLetter[]
    await appendAll(deadLetterTopic, [codecs.deadLetters.encode(letter!)])
    const lines = await run('read', mutationTopic(sampled))
    for (const { type } of written) expect(lines.join('\n')).toContain(type)
    expect((await run('read', deadLetterTopic)).join('\n')).toContain(letter!.message)
  })
})

test("a record where librdkafka's own partitioner puts it becomes a dead letter", async () => {
  const run = await python.prepare({ brokers: broker.brokers, registryUrl })
  const itemId = 'elsewhere-1' as ItemId
  await run('../testing/default_partitioner', itemId)
  const [record] = await recordsOf(itemId)
  expect(record!.partition).not.toBe(partitionOf(itemId, config.partitions))
  const letters = async () => (await run('read', deadLetterTopic)).filter(line => line.includes(itemId)).join()
  await expect.poll(letters, { timeout: runMs }).toContain('misrouted')
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
    while ([...offsets].some(([partition, { end }]) => reader.position(partition) < end))
      records.push(...(await reader.poll(100, 1_000)))
  } finally {
    await reader.close()
  }
  return records.filter(({ key }) => key !== null && Buffer.from(key).toString() === itemId)
}
