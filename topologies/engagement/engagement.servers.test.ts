import { afterEach, beforeEach, expect, inject, test } from 'vitest'
import { type Codecs, openCodecs, registerSchemas } from '../../schemas/avro/codec.ts'
import type { EngagementRecord } from '../../schemas/engagement.ts'
import { engagementKey, engagementOf, engagementPartition } from '../../schemas/item-engagement.ts'
import { MemorySchemaDirectory } from '../../schemas/testing/memory-schema-directory.ts'
import { engagementTopic } from '../../schemas/topics.ts'
import { prefixedLog } from '../dispatch/testing/prefixed-log.ts'
import type { EventLog } from '../event-log.ts'
import { KafkaEventLog } from '../kafka/kafka-event-log.ts'
import { RedisFeatureStore } from '../redis/redis-feature-store.ts'
import { EngagementRunner } from './engagement-runner.ts'

const partitions = 4
const patience = { timeout: 60_000, interval: 50 }
const prefix = `engagement-${crypto.randomUUID()}`

let codecs: Codecs
let features: RedisFeatureStore
let log: EventLog
const logs: EventLog[] = []
const runners: EngagementRunner[] = []

function openLog(): EventLog {
  const { kafkaBrokers } = inject('servers')
  const kafka = new KafkaEventLog({ brokers: kafkaBrokers, clientId: prefix, sessionTimeoutMs: 6_000 })
  logs.push(kafka)
  return prefixedLog(kafka, prefix)
}

beforeEach(async () => {
  const schemas = new MemorySchemaDirectory()
  await registerSchemas(schemas)
  codecs = await openCodecs(schemas)
  features = new RedisFeatureStore({ redis: { url: inject('servers').redisUrl }, keyPrefix: `${prefix}:` })
  log = openLog()
  await log.ensureTopic({
    name: engagementTopic,
    partitions,
    compacted: false,
    retentionMs: null,
    minCompactionLagMs: 0,
    tombstoneRetentionMs: 0,
  })
})

afterEach(async () => {
  await Promise.all(runners.map(runner => runner.stop()))
  await Promise.all(logs.map(each => each.close()))
  await features.close()
})

/** One process of the group, with a client of its own. */
function join(): EngagementRunner {
  const onTrouble = (): void => undefined
  const ports = { log: openLog(), codec: codecs.engagement, features }
  const runner = new EngagementRunner(ports, { partitions: 'group', onTrouble, flushMs: 50 })
  runners.push(runner)
  runner.start()
  return runner
}

async function append(records: readonly EngagementRecord[]): Promise<void> {
  await log.append(
    engagementTopic,
    records.map(record => ({
      partition: engagementPartition(record.queryId, partitions),
      key: Buffer.from(record.queryId),
      value: codecs.engagement.encode(record),
    })),
  )
}

/** A session that is shown two items and clicks the second. */
function visit(queryId: string): readonly EngagementRecord[] {
  const atMs = Date.now()
  return [
    { type: 'ResultsShown', queryId, generation: 'g1', atMs, itemIds: ['sofa', 'lamp'], session: queryId },
    { type: 'Engaged', queryId, itemId: 'lamp', action: 'click', position: 1, atMs },
  ]
}

const clicks = async () => engagementOf((await features.readSums([engagementKey('lamp')]))[0], Date.now()).clicks

test('processes share the partitions; one that ends leaves its own to the other, and no number is lost or doubled', async () => {
  const first = join()
  await expect.poll(() => first.status(), patience).toMatchObject({ assigned: partitions, current: partitions })
  const second = join()
  await expect.poll(() => second.status().assigned, patience).toBe(partitions / 2)
  await append(Array.from({ length: 40 }, (_, n) => visit(`before-${n}`)).flat())
  await expect.poll(clicks, patience).toBeCloseTo(40, 2)
  await first.stop()
  await append(Array.from({ length: 20 }, (_, n) => visit(`after-${n}`)).flat())
  await expect.poll(() => second.status(), patience).toMatchObject({ assigned: partitions, current: partitions })
  await expect.poll(clicks, patience).toBeCloseTo(60, 2)
})
