import { createHash } from 'node:crypto'
import { mkdirSync, writeFileSync } from 'node:fs'
import { join } from 'node:path'
import { setTimeout as delay } from 'node:timers/promises'
import { type ItemId, type Partition, parseItemId } from '../../../schemas/ids.ts'
import { partitionOf } from '../../../schemas/partition.ts'
import { catalogTopic } from '../../../schemas/topics.ts'
import type { AppendedRecord, NewRecord } from '../../../topologies/event-log.ts'
import type { BenchInstallation } from './bench-installation.ts'

/** An event of a new item, ready to be appended to the catalog. */
export interface PreparedEvent extends NewRecord {
  readonly itemId: ItemId
  readonly key: Uint8Array
  readonly value: Uint8Array
}

/** An event as the catalog has it. */
export interface AcceptedEvent extends AppendedRecord {
  readonly itemId: ItemId
}

const eventsPerAppend = 500
const paceMs = 5

/**
 * Events of new items, each with a stored picture of its own, so that no cache helps. All work that is not the append
 * is done here, before any clock runs.
 */
export function prepareEvents(
  { codecs, config, blobsDir }: BenchInstallation,
  { prefix, count }: { readonly prefix: string; readonly count: number },
): readonly PreparedEvent[] {
  return Array.from({ length: count }, (_, i) => {
    const itemId = parseItemId(`${prefix}-${i}`)
    const value = codecs.catalog.encode({
      type: 'ItemUpserted',
      itemId,
      images: [storePicture(blobsDir, itemId)],
      imageVersion: '',
      refresh: false,
      title: `Product number ${i} of ${prefix}`,
      category: `category-${i % 20}`,
      price: (i % 500) + 0.99,
      currency: 'EUR',
      regions: ['de', 'fr'],
      available: true,
      attributes: { colour: i % 2 ? 'red' : 'blue', seats: i % 5 },
    })
    return { itemId, partition: partitionOf(itemId, config.partitions), key: Buffer.from(itemId), value }
  })
}

/** As fast as the log takes them, in order, some appends at a time. */
export async function appendAll(
  { log }: Pick<BenchInstallation, 'log'>,
  events: readonly PreparedEvent[],
  topic = catalogTopic,
): Promise<readonly AcceptedEvent[]> {
  const accepted: Promise<readonly AcceptedEvent[]>[] = []
  for (let at = 0; at < events.length; at += eventsPerAppend)
    accepted.push(append(log, topic, events.slice(at, at + eventsPerAppend)))
  return (await Promise.all(accepted)).flat()
}

/** At a steady rate, whether or not earlier ones were answered. */
export async function appendPaced(
  { log }: Pick<BenchInstallation, 'log'>,
  events: readonly PreparedEvent[],
  perSecond: number,
): Promise<readonly AcceptedEvent[]> {
  const began = performance.now()
  const accepted: Promise<readonly AcceptedEvent[]>[] = []
  for (let sent = 0; sent < events.length; await delay(paceMs)) {
    const due = Math.min(events.length, Math.ceil(((performance.now() - began) / 1_000) * perSecond))
    if (due > sent) accepted.push(append(log, catalogTopic, events.slice(sent, due)))
    sent = due
  }
  return (await Promise.all(accepted)).flat()
}

async function append(
  log: BenchInstallation['log'],
  topic: string,
  events: readonly PreparedEvent[],
): Promise<readonly AcceptedEvent[]> {
  const appended = await log.append(topic, events)
  return appended.map((each, i) => ({ ...each, itemId: events[i]!.itemId }))
}

/** Offsets up to which the catalog holds these events, by partition. */
export function lastOffsets(events: readonly AcceptedEvent[]): ReadonlyMap<Partition, number> {
  const last = new Map<Partition, number>()
  for (const { partition, offset } of events) last.set(partition, Math.max(offset, last.get(partition) ?? 0))
  return last
}

/** The signature of a PNG and 32 bytes that differ: only the stub model takes it for a picture. */
function storePicture(blobsDir: string, itemId: ItemId): string {
  const bytes = Buffer.concat([pngSignature, createHash('sha256').update(`picture of ${itemId}`).digest()])
  const digest = createHash('sha256').update(bytes).digest('hex')
  const folder = join(blobsDir, digest.slice(0, 2))
  mkdirSync(folder, { recursive: true })
  writeFileSync(join(folder, digest), bytes)
  return `blob:${digest}`
}

const pngSignature = Buffer.from([0x89, 0x50, 0x4e, 0x47, 0x0d, 0x0a, 0x1a, 0x0a])
