import { afterEach, beforeEach, expect, test } from 'vitest'
import { type Codecs, openCodecs, registerSchemas } from '../../schemas/avro/codec.ts'
import { topicEpochKey } from '../../schemas/catalog-event.ts'
import type { FreshetError } from '../../schemas/errors.ts'
import { asPartition, type ItemId, type TopicEpoch } from '../../schemas/ids.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import { EmbeddedEventLog } from '../../topologies/embedded/embedded-event-log.ts'
import { openKeyValueStore } from '../../topologies/embedded/embedded-key-value-store.ts'
import { EmbeddedSchemaRegistry } from '../../topologies/embedded/embedded-schema-registry.ts'
import { TemporaryEnvironment } from '../../topologies/embedded/testing/temporary-environment.ts'
import type { EventLog } from '../../topologies/event-log.ts'
import { CatalogGuard } from './catalog-guard.ts'

const first = '00000000000000aa' as TopicEpoch
const second = '00000000000000bb' as TopicEpoch
const partitions = [asPartition(0), asPartition(1)]

let environments: TemporaryEnvironment[]

beforeEach(() => {
  environments = []
})

afterEach(async () => {
  for (const environment of environments) await environment.dispose()
})

/** A catalog of its own with the markers of an epoch. */
async function openCatalog(epoch: TopicEpoch): Promise<{ readonly log: EventLog; readonly codecs: Codecs }> {
  const temporary = await TemporaryEnvironment.create()
  environments.push(temporary)
  const environment = await temporary.open()
  const log = new EmbeddedEventLog(environment)
  const registry = new EmbeddedSchemaRegistry(openKeyValueStore(environment, 'schemas'))
  await registerSchemas(registry)
  const codecs = await openCodecs(registry)
  const durations = { compacted: true, retentionMs: null, minCompactionLagMs: 0, tombstoneRetentionMs: 0 }
  await log.ensureTopic({ ...durations, name: catalogTopic, partitions: partitions.length })
  const marker = codecs.catalog.encode({ type: 'TopicEpoch', epoch })
  await log.append(
    catalogTopic,
    partitions.map(partition => ({ partition, key: Buffer.from(topicEpochKey), value: marker })),
  )
  return { log, codecs }
}

/** One name, under which there is one log now and another one later. */
class ReplaceableLog {
  current: EventLog
  /** While set, the log is away. */
  isAway = false
  markersRead = 0

  constructor(log: EventLog) {
    this.current = log
  }

  asEventLog(): EventLog {
    const act = <T>(call: () => Promise<T>): Promise<T> => (this.isAway ? Promise.reject(new Error('away')) : call())
    return {
      ...this.current,
      append: (topic, records) => act(() => this.current.append(topic, records)),
      offsets: topic => act(() => this.current.offsets(topic)),
      openReader: options => {
        this.markersRead++
        return act(() => this.current.openReader(options))
      },
    } as EventLog
  }
}

async function scene() {
  const { log: original, codecs } = await openCatalog(first)
  const replaceable = new ReplaceableLog(original)
  const told: string[] = []
  const onRecreated = ({ code }: FreshetError) => told.push(code)
  const log = replaceable.asEventLog()
  const guard = new CatalogGuard({ log, codec: codecs.catalog, topicEpoch: first, onRecreated })
  const value = codecs.catalog.encode({ type: 'ItemDeleted', itemId: 'chair' as ItemId })
  const event = { partition: partitions[0]!, key: Buffer.from('chair'), value }
  return { replaceable, guard, event, told }
}

const epochError = { code: 'topic-epoch', retryable: false }

test('while the topic is the one it was, events go in, and its markers are read once', async () => {
  const { guard, event, replaceable } = await scene()
  await guard.look()
  const appended = await Promise.all([
    guard.append([event]),
    guard.append([event]),
    guard.look(),
    guard.append([event]),
  ])
  expect([appended[0][0]!.offset, appended[1][0]!.offset, appended[3][0]!.offset]).toEqual([1, 2, 3])
  await guard.look()
  expect(replaceable.markersRead).toBe(1)
})

test('an event that went into a topic created again is not acknowledged, and none goes in after it', async () => {
  const { guard, event, replaceable, told } = await scene()
  for (let i = 0; i < 5; i++) await guard.append([event])
  const recreated = await openCatalog(second)
  replaceable.current = recreated.log
  await expect(guard.append([event])).rejects.toMatchObject(epochError)
  await expect(guard.append([event])).rejects.toMatchObject(epochError)
  await expect(guard.look()).rejects.toMatchObject(epochError)
  expect(told).toEqual(['topic-epoch'])
  expect((await recreated.log.offsets(catalogTopic)).get(partitions[0]!)!.end).toBe(2)
})

test('a look finds it too, also a topic that has grown beyond the old one while the log was away', async () => {
  const { guard, event, replaceable } = await scene()
  await guard.append([event])
  replaceable.isAway = true
  await expect(guard.look()).rejects.toThrow('away')
  const recreated = await openCatalog(second)
  for (let i = 0; i < 9; i++)
    await recreated.log.append(
      catalogTopic,
      partitions.map(partition => ({ ...event, partition })),
    )
  replaceable.current = recreated.log
  replaceable.isAway = false
  await expect(guard.look()).rejects.toMatchObject(epochError)
  await expect(guard.append([event])).rejects.toMatchObject(epochError)
})

test('a log that was away and is the same again is trusted again', async () => {
  const { guard, event, replaceable } = await scene()
  await guard.append([event])
  replaceable.isAway = true
  await expect(guard.look()).rejects.toThrow('away')
  await expect(guard.append([event])).rejects.toThrow('away')
  replaceable.isAway = false
  expect((await guard.append([event]))[0]!.offset).toBe(2)
})
