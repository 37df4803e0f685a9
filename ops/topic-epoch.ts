import { randomBytes } from 'node:crypto'
import { type CatalogEvent, topicEpochKey } from '../schemas/catalog-event.ts'
import { asFreshetError, type ErrorCode, FreshetError } from '../schemas/errors.ts'
import type { Partition, TopicEpoch } from '../schemas/ids.ts'
import type { RecordCodec } from '../schemas/record-codec.ts'
import { catalogTopic } from '../schemas/topics.ts'
import type { EventLog } from '../topologies/event-log.ts'

/**
 * The epoch of the catalog topic: that of the marker every partition begins with.
 * @throws FreshetError `topic-epoch` when a partition is empty or begins with something else; `topic-missing`
 */
export async function readTopicEpoch(log: EventLog, codec: RecordCodec<CatalogEvent>): Promise<TopicEpoch> {
  const { epoch, empty } = await firstRecords(log, codec)
  if (epoch === null || empty.length > 0)
    throw new FreshetError(
      'topic-epoch',
      `partitions ${empty.join(', ')} of the catalog have no epoch marker: run \`freshet topics apply\``,
    )
  return epoch
}

/**
 * Gives partitions without a record their marker, so that a first start which was cut short goes on where it ended.
 * Then reads it back: of two who do this at once, both get the same answer.
 * @throws FreshetError `topic-epoch` when a partition begins with something else; `topic-missing`
 */
export async function ensureTopicEpoch(log: EventLog, codec: RecordCodec<CatalogEvent>): Promise<TopicEpoch> {
  const { epoch, empty } = await firstRecords(log, codec)
  if (epoch !== null && empty.length === 0) return epoch
  const value = codec.encode({ type: 'TopicEpoch', epoch: epoch ?? (randomBytes(8).toString('hex') as TopicEpoch) })
  const key = Buffer.from(topicEpochKey)
  await log.append(
    catalogTopic,
    empty.map(partition => ({ partition, key, value })),
  )
  return readTopicEpoch(log, codec)
}

interface FirstRecords {
  /** null when all partitions are empty. */
  readonly epoch: TopicEpoch | null
  readonly empty: readonly Partition[]
}

async function firstRecords(log: EventLog, codec: RecordCodec<CatalogEvent>): Promise<FirstRecords> {
  const offsets = [...(await log.offsets(catalogTopic))]
  const empty = offsets.filter(([, { start, end }]) => start === end).map(([partition]) => partition)
  const filled = offsets.filter(([, { start, end }]) => start < end).map(([partition]) => partition)
  const epochs = await firstEpochs(log, codec, filled)
  if (epochs.size > 1 || epochs.has(null))
    throw new FreshetError('topic-epoch', 'the partitions of the catalog do not begin with one epoch marker')
  return { epoch: [...epochs][0] ?? null, empty }
}

/** The epochs that the first records of these partitions name, null for a record that is no marker. */
async function firstEpochs(
  log: EventLog,
  codec: RecordCodec<CatalogEvent>,
  partitions: readonly Partition[],
): Promise<ReadonlySet<TopicEpoch | null>> {
  const epochs = new Set<TopicEpoch | null>()
  const missing = new Set(partitions)
  if (missing.size === 0) return epochs
  const reader = await log.openReader({ topic: catalogTopic, partitions, from: new Map() })
  try {
    while (missing.size > 0) {
      const firsts = (await reader.poll(missing.size, 1_000)).filter(({ partition }) => missing.delete(partition))
      reader.pause(firsts.map(({ partition }) => partition))
      for (const { value } of firsts) epochs.add(await epochOf(value, codec))
    }
  } finally {
    await reader.close()
  }
  return epochs
}

const undecodable: ReadonlySet<ErrorCode> = new Set(['schema-unknown', 'schema-incompatible', 'record-undecodable'])

async function epochOf(value: Uint8Array | null, codec: RecordCodec<CatalogEvent>): Promise<TopicEpoch | null> {
  if (value === null) return null
  try {
    await codec.learn(value)
    const event = codec.decode(value)
    return event.type === 'TopicEpoch' ? event.epoch : null
  } catch (thrown) {
    if (undecodable.has(asFreshetError(thrown).code)) return null
    throw thrown
  }
}
