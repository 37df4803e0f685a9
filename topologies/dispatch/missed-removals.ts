import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, type Offset, type Partition } from '../../schemas/ids.ts'
import { mutationTopic } from '../../schemas/topics.ts'
import type { EventLog, LogRecord } from '../event-log.ts'
import type { DispatchSettings } from './dispatch-state.ts'
import type { Pauses } from './passing-failure.ts'

export interface RemovalCheck {
  readonly settings: Pick<DispatchSettings, 'generation' | 'tombstoneRetentionMs' | 'acceptMissedRemovals'>
  /** Of the mutation log. */
  readonly offsets: ReadonlyMap<Partition, { readonly start: Offset; readonly end: Offset }>
  readonly pauses: Pauses
  readonly nowMs: number
}

/**
 * A delete by null value leaves the catalog topic some time after the retention of removals. Dispatchers that were all
 * away for longer may have missed one, and would keep its item searchable for ever; the group's commits, which Kafka
 * forgets after such a time too, do not tell. When they were there last is known by the watermarks, of which each
 * owner of a partition writes one a second into its mutation log.
 * @throws FreshetError `checkpoint-too-old` where that is not accepted; log codes
 */
export async function requireNoMissedRemovals(
  log: EventLog,
  partitions: readonly Partition[],
  check: RemovalCheck,
): Promise<void> {
  const { generation, tombstoneRetentionMs, acceptMissedRemovals } = check.settings
  if (acceptMissedRemovals) return
  for (const [partition, writtenAtMs] of await lastWatermarks(log, partitions, check)) {
    const awayMs = check.nowMs - writtenAtMs
    if (awayMs <= tombstoneRetentionMs) continue
    throw new FreshetError(
      'checkpoint-too-old',
      `partition ${partition} of generation ${generation} had no dispatcher for ${hours(awayMs)}, and the catalog keeps ` +
        `deletes by null value for ${hours(tombstoneRetentionMs)}: some may be missed. Build a new generation, or set ` +
        'dispatch.acceptMissedRemovals once where nobody deletes by null value',
    )
  }
}

const hours = (ms: number): string => `${(ms / 3_600_000).toFixed(1)} h`

/** Records looked at, from the end: watermarks lie between the last mutations. */
const firstSpan = 256
const spanGrowth = 16
const watermarkKeyStart = 'w'.charCodeAt(0)
const pollWaitMs = 1_000

/** Append time of the last watermark of each partition that has one. */
async function lastWatermarks(
  log: EventLog,
  partitions: readonly Partition[],
  { settings, offsets, pauses }: RemovalCheck,
): Promise<ReadonlyMap<Partition, number>> {
  const found = new Map<Partition, number>()
  let looking = partitions.filter(partition => endOf(offsets, partition) > startOf(offsets, partition))
  for (let span = firstSpan; looking.length > 0 && !pauses.ended; span *= spanGrowth) {
    const from = new Map(
      looking.map(one => [one, asOffset(Math.max(startOf(offsets, one), endOf(offsets, one) - span))] as const),
    )
    const reader = await log.openReader({
      topic: mutationTopic(settings.generation),
      partitions: looking,
      from,
    })
    try {
      while (!pauses.ended && looking.some(one => reader.position(one) < endOf(offsets, one)))
        for (const record of await reader.poll(firstSpan, pollWaitMs))
          if (isWatermark(record)) found.set(record.partition, record.appendTimeMs)
    } finally {
      await reader.close()
    }
    looking = looking.filter(one => !found.has(one) && from.get(one)! > startOf(offsets, one))
  }
  return found
}

function isWatermark({ key, value }: LogRecord): boolean {
  return value !== null && key?.[0] === watermarkKeyStart
}

function startOf(offsets: RemovalCheck['offsets'], partition: Partition): Offset {
  return offsets.get(partition)?.start ?? asOffset(0)
}

function endOf(offsets: RemovalCheck['offsets'], partition: Partition): Offset {
  return offsets.get(partition)?.end ?? asOffset(0)
}
