import type { CatalogEvent } from '../../schemas/catalog-event.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { Offset, Partition, TopicEpoch } from '../../schemas/ids.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import type { EventLog } from '../event-log.ts'
import type { Pauses } from './passing-failure.ts'
import { decodeCatalog } from './record-decoder.ts'

export interface MarkerCheck {
  readonly codec: RecordCodec<CatalogEvent>
  readonly offsets: ReadonlyMap<Partition, { readonly start: Offset; readonly end: Offset }>
  readonly committed: ReadonlyMap<Partition, Offset>
  readonly topicEpoch: TopicEpoch
  readonly pauses: Pauses
}

/**
 * A committed offset means nothing in a topic that was created again: before going on from one, the first record of
 * its partition has to be the epoch's marker. Partitions read from their start are checked by the step.
 * @throws FreshetError `topic-epoch`
 */
export async function checkMarkers(log: EventLog, check: MarkerCheck): Promise<void> {
  const missing = new Set<Partition>()
  for (const [partition, offset] of check.committed) {
    const { start, end } = check.offsets.get(partition) ?? { start: 0, end: 0 }
    if (offset > end)
      throw new FreshetError(
        'topic-epoch',
        `partition ${partition} ends at ${end}, ${offset} is committed: the topic was created again`,
      )
    if (offset > start) missing.add(partition)
  }
  if (missing.size === 0) return
  const reader = await log.openReader({ topic: catalogTopic, partitions: [...missing], from: new Map() })
  try {
    while (missing.size > 0) {
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
