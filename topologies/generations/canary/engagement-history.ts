import type { EngagementRecord } from '../../../schemas/engagement.ts'
import { asFreshetError } from '../../../schemas/errors.ts'
import { asOffset } from '../../../schemas/ids.ts'
import type { RecordCodec } from '../../../schemas/record-codec.ts'
import { engagementTopic } from '../../../schemas/topics.ts'
import type { EventLog } from '../../event-log.ts'

const pollRecords = 1_000
const waitMs = 200

/**
 * The latest records of what was shown and chosen, about `count`, as many of each partition; those of one query are in
 * order. What cannot be read as such is passed over. @throws FreshetError log codes · the signal's reason
 */
export async function readEngagements(
  { log, codec }: { readonly log: EventLog; readonly codec: RecordCodec<EngagementRecord> },
  count: number,
  signal: AbortSignal,
): Promise<readonly EngagementRecord[]> {
  const ranges = [...(await log.offsets(engagementTopic))].filter(([, { start, end }]) => start < end)
  const each = Math.ceil(count / Math.max(1, ranges.length))
  const ends = new Map(ranges.map(([partition, { end }]) => [partition, end]))
  const from = new Map(ranges.map(([partition, { start, end }]) => [partition, asOffset(Math.max(start, end - each))]))
  const records: EngagementRecord[] = []
  if (ranges.length === 0) return records
  const reader = await log.openReader({ topic: engagementTopic, partitions: [...from.keys()], from })
  try {
    while ([...ends].some(([partition, end]) => reader.position(partition) < end)) {
      signal.throwIfAborted()
      for (const { value } of await reader.poll(pollRecords, waitMs))
        if (value !== null) records.push(...(await decoded(codec, value)))
    }
  } finally {
    await reader.close()
  }
  return records
}

async function decoded(codec: RecordCodec<EngagementRecord>, value: Uint8Array): Promise<readonly EngagementRecord[]> {
  try {
    return [codec.decode(value)]
  } catch (thrown) {
    if (asFreshetError(thrown).code !== 'schema-unknown') return []
  }
  try {
    await codec.learn(value)
    return [codec.decode(value)]
  } catch {
    return []
  }
}
