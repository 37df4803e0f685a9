import { type Codecs, openCodecs, registerSchemas } from '../../../schemas/avro/codec.ts'
import { type CatalogEvent, topicEpochKey } from '../../../schemas/catalog-event.ts'
import { decodeJob } from '../../../schemas/embed-job.ts'
import type { FreshetError } from '../../../schemas/errors.ts'
import { asPartition, type ItemId, type Partition, parseItemId, type TopicEpoch } from '../../../schemas/ids.ts'
import { mutationKey } from '../../../schemas/mutation.ts'
import { partitionOf } from '../../../schemas/partition.ts'
import { catalogTopic, deadLetterTopic, mutationTopic } from '../../../schemas/topics.ts'
import { EmbeddedEventLog } from '../../embedded/embedded-event-log.ts'
import { EmbeddedFeatureStore } from '../../embedded/embedded-feature-store.ts'
import { openKeyValueStore } from '../../embedded/embedded-key-value-store.ts'
import { EmbeddedSchemaRegistry } from '../../embedded/embedded-schema-registry.ts'
import { EmbeddedWorkQueue } from '../../embedded/embedded-work-queue.ts'
import { EmbeddedEnvironment } from '../../embedded/environment.ts'
import type { EventLog, LogRecord } from '../../event-log.ts'
import type { KeyValueStore } from '../../key-value-store.ts'
import { type DispatchSettings, defaultDispatchSettings } from '../dispatch-state.ts'
import type { DispatchPorts } from '../runner.ts'
import {
  type FoldedItem,
  failureOf,
  foldRegisters,
  objectsOf,
  testEpoch,
  testFingerprint,
  testGeneration,
} from '../test-records.ts'

export const partitionCount = 4
export const mutations = mutationTopic(testGeneration)
export const settings: DispatchSettings = {
  ...defaultDispatchSettings,
  generation: testGeneration,
  acceptance: { fingerprint: testFingerprint, dims: 4, topicEpoch: testEpoch },
  partitionCount,
  backfillUntil: [],
}

/** What the tests of the runner run on. */
export interface Installation {
  readonly environment: EmbeddedEnvironment
  readonly log: EventLog
  readonly codecs: Codecs
  readonly store: KeyValueStore
  readonly ports: DispatchPorts
}

/** On embedded storage, with the topics; `log` takes the place of the embedded one. */
export async function install(directory: string, log?: EventLog): Promise<Installation> {
  const environment = await EmbeddedEnvironment.open({ directory, clock: Date.now })
  const eventLog = log ?? new EmbeddedEventLog(environment)
  const store = openKeyValueStore(environment, 'state')
  const registry = new EmbeddedSchemaRegistry(openKeyValueStore(environment, 'schemas'))
  await registerSchemas(registry)
  const codecs = await openCodecs(registry)
  for (const name of [catalogTopic, mutations, deadLetterTopic])
    await eventLog.ensureTopic({
      name,
      partitions: partitionCount,
      compacted: name !== deadLetterTopic,
      retentionMs: null,
      minCompactionLagMs: 0,
      tombstoneRetentionMs: 0,
    })
  const queue = new EmbeddedWorkQueue(environment)
  const features = new EmbeddedFeatureStore(environment)
  const ports = { log: eventLog, queue, features, table: store, codecs, clock: Date.now }
  return { environment, log: eventLog, codecs, store, ports }
}

/** The epoch markers. */
export async function begin({ log, codecs }: Installation, epoch: TopicEpoch = testEpoch): Promise<void> {
  const value = codecs.catalog.encode({ type: 'TopicEpoch', epoch })
  const key = Buffer.from(topicEpochKey)
  const markers = Array.from({ length: partitionCount }, (_, p) => ({ partition: asPartition(p), key, value }))
  await log.append(catalogTopic, markers)
}

export type ItemEvent = Exclude<CatalogEvent, { type: 'TopicEpoch' }>

export async function publish({ log, codecs }: Installation, events: readonly ItemEvent[]): Promise<void> {
  await log.append(
    catalogTopic,
    events.map(event => ({
      partition: partitionOf(event.itemId, partitionCount),
      key: Buffer.from(event.itemId),
      value: codecs.catalog.encode(event),
    })),
  )
}

export function failTest(error: FreshetError): void {
  throw error
}

/** Jobs of these fail. */
export const brokenImages = new Set<string>()

/** A worker that gives every job its objects, or fails those with a broken image, while the body runs. */
export async function withWorker<T>(installation: Installation, body: () => Promise<T>): Promise<T> {
  const ended = new AbortController()
  const working = work(installation, ended.signal)
  try {
    return await body()
  } finally {
    ended.abort()
    await working
  }
}

async function work({ ports, log, codecs }: Installation, signal: AbortSignal): Promise<void> {
  while (!signal.aborted) {
    const claimed = await ports.queue.claim(100, 60_000, 50)
    const results = claimed.map(({ payload }) => {
      const job = decodeJob(payload)
      const isBroken = brokenImages.has(job.images[0]!)
      const mutation = isBroken ? failureOf(job, false, 'image-corrupt') : objectsOf(job)
      return {
        partition: job.partition,
        key: Buffer.from(mutationKey(mutation)),
        value: codecs.mutations.encode(mutation),
      }
    })
    await Promise.all([log.append(mutations, results), ports.queue.complete(claimed)])
  }
}

/** Reads the mutation log until a watermark of every partition has reached the end of the catalog; returns all records. */
export async function readUntilApplied({ log, codecs }: Installation): Promise<readonly LogRecord[]> {
  const left = new Map<Partition, number>()
  for (const [partition, { end }] of await log.offsets(catalogTopic)) left.set(partition, end - 1)
  const reader = await log.openReader({ topic: mutations, partitions: [...left.keys()], from: new Map() })
  const all: LogRecord[] = []
  while (left.size > 0)
    for (const record of await reader.poll(1_000, 1_000)) {
      all.push(record)
      const mutation = record.value && codecs.mutations.decode(record.value)
      if (
        mutation?.type === 'Watermark' &&
        mutation.offset >= (left.get(mutation.partition) ?? Number.POSITIVE_INFINITY)
      )
        left.delete(mutation.partition)
    }
  await reader.close()
  return all
}

export function fold({ codecs }: Installation, records: readonly LogRecord[]): ReadonlyMap<ItemId, FoldedItem> {
  return foldRegisters(
    records.map(({ offset, appendTimeMs, key, value }) => ({
      offset,
      appendTimeMs,
      key: Buffer.from(key!).toString(),
      mutation: value && codecs.mutations.decode(value),
    })),
  )
}

export const idOf = (n: number): ItemId => parseItemId(`item-${n}`)
