import type { CatalogEvent } from '../../schemas/catalog-event.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { Offset, Partition, TopicEpoch } from '../../schemas/ids.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import type { EventLog } from '../event-log.ts'
import type { Pauses } from './passing-failure.ts'
import { decodeCatalog } from './record-decoder.ts'

/** Where a catalog partition starts and ends, and what its group has committed. */
export interface CatalogOffsets {
  readonly start: Offset
  readonly end: Offset
  readonly committed: Offset | null
}

/**
 * A committed offset means nothing in a topic that was created again and is shorter now.
 * @throws FreshetError `topic-epoch`
 */
export function requireCommitsInLog(offsets: ReadonlyMap<Partition, CatalogOffsets>): void {
  for (const [partition, { end, committed }] of offsets)
    if (committed !== null && committed > end)
      throw new FreshetError(
        'topic-epoch',
        `partition ${partition} ends at ${end}, ${committed} is committed: the topic was created again`,
      )
}

export interface MarkerCheck {
  readonly codec: RecordCodec<CatalogEvent>
  readonly partitions: readonly Partition[]
  readonly topicEpoch: TopicEpoch
  readonly pauses: Pauses
}

/**
 * Before going on from a committed offset, the first record of its partition has to be the epoch's marker. Partitions
 * read from their start are checked by the step.
 * @throws FreshetError `topic-epoch`
 */
export async function checkMarkers(log: EventLog, check: MarkerCheck): Promise<void> {
  const missing = new Set(check.partitions)
  if (missing.size === 0) return
  const reader = await log.openReader({ topic: catalogTopic, partitions: check.partitions, from: new Map() })
  try {
    while (missing.size > 0 && !check.pauses.ended) {
      const records = await reader.poll(missing.size, 1_000)
      const firsts = records.filter(record => missing.delete(record.partition))
      reader.pause(firsts.map(record => record.partition))
      for (const { record, content } of await decodeCatalog(firsts, check.codec, check.pauses)) {
        const epoch = content.kind === 'event' && content.event.type === 'TopicEpoch' ? content.event.epoch : null
        if (epoch !== check.topicEpoch)
          throw new FreshetError(
            'topic-epoch',
            `partition ${record.partition} begins with ${epoch ?? 'another record'}, expected the marker of epoch ${check.topicEpoch}`,
          )
      }
    }
  } finally {
    await reader.close()
  }
}
