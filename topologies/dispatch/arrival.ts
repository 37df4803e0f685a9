import type { CatalogEvent } from '../../schemas/catalog-event.ts'
import type { Offset, Partition } from '../../schemas/ids.ts'
import { asOffset } from '../../schemas/ids.ts'
import type { RecordCodec } from '../../schemas/record-codec.ts'
import { catalogTopic, mutationTopic } from '../../schemas/topics.ts'
import type { EventLog } from '../event-log.ts'
import { type CatalogOffsets, checkMarkers } from './check-markers.ts'
import type { AssignedPartition, DispatchSettings } from './dispatch-state.ts'
import { dispatchGroup } from './group.ts'
import type { ItemTable } from './item-table.ts'
import { requireNoMissedRemovals } from './missed-removals.ts'
import type { Pauses } from './passing-failure.ts'

export async function catalogOffsets(
  log: EventLog,
  { generation }: DispatchSettings,
): Promise<ReadonlyMap<Partition, CatalogOffsets>> {
  const committed = await log.committed(dispatchGroup(generation), catalogTopic)
  const offsets = await log.offsets(catalogTopic)
  return new Map(
    Array.from(offsets, ([partition, { start, end }]) => [
      partition,
      { start, end, committed: committed.get(partition) ?? null },
    ]),
  )
}

export interface ArrivalOptions {
  readonly settings: DispatchSettings
  readonly offsets: ReadonlyMap<Partition, CatalogOffsets>
  /** Others of the group may have owned the partitions since the table was stored. */
  readonly isShared: boolean
  readonly table: ItemTable
  readonly codec: RecordCodec<CatalogEvent>
  readonly pauses: Pauses
  readonly nowMs: number
}

export interface Arrived {
  readonly assigned: AssignedPartition
  /** Where its mutation log ends. */
  readonly mutationsEnd: Offset
}

/**
 * Where to read arriving partitions from, after their epoch markers were checked and table entries that are too old
 * discarded. @throws FreshetError `topic-epoch`, `checkpoint-too-old`, log and storage codes
 */
export async function arrive(
  log: EventLog,
  partitions: readonly Partition[],
  options: ArrivalOptions,
): Promise<readonly Arrived[]> {
  const { settings, isShared, table, codec, pauses } = options
  const arriving = partitions.map(partition => {
    const { start, end, committed } = options.offsets.get(partition) ?? emptyOffsets
    return { partition, start, end, catalogFrom: committed ?? start }
  })
  const continued = arriving.filter(({ start, catalogFrom }) => catalogFrom > start).map(({ partition }) => partition)
  await checkMarkers(log, {
    codec,
    partitions: continued,
    topicEpoch: settings.acceptance.topicEpoch,
    pauses,
  })
  const mutationOffsets = await log.offsets(mutationTopic(settings.generation))
  const startOf = (partition: Partition) => mutationOffsets.get(partition)?.start ?? asOffset(0)
  if (isShared) {
    await requireNoMissedRemovals(log, partitions, { ...options, offsets: mutationOffsets })
    await discardOld(partitions, startOf, options)
  }
  return arriving.map(({ partition, start, end, catalogFrom }) => ({
    assigned: {
      partition,
      catalogFrom,
      tailFrom: tailFromOf(settings, { partition, catalogFrom, end }),
      mutationsFrom: table.storedPosition(partition) ?? { ...unread, next: startOf(partition) },
      catalogEnd: end,
      isShared,
      expectMarker: catalogFrom <= start,
    },
    mutationsEnd: mutationOffsets.get(partition)?.end ?? asOffset(0),
  }))
}

/**
 * Live events, those above what the catalog held when the generation began, are read beside a backlog and not behind it.
 * A log that ends before them is another than the generation's; its marker will tell.
 */
export function tailFromOf(
  { backfillUntil, copiedFrom }: Pick<DispatchSettings, 'backfillUntil' | 'copiedFrom'>,
  {
    partition,
    catalogFrom,
    end,
  }: { readonly partition: Partition; readonly catalogFrom: Offset; readonly end: Offset },
): Offset | null {
  // What was copied is known to its events in order; beside a backlog they would count as after a gap.
  if (copiedFrom !== null) return null
  const from = backfillUntil[partition]
  return from !== undefined && from > catalogFrom && from <= end ? from : null
}

const unread = { appendTimeMs: 0, highestVersion: asOffset(-1) }
const emptyOffsets: CatalogOffsets = { start: asOffset(0), end: asOffset(0), committed: null }

/**
 * Entries may only be brought up to date while the log still holds every removal since. Another owner collects a
 * removal once it is older than the retention; half of that leaves room for clocks that differ and for the reading
 * itself. Below the log's start anything may be gone. What is discarded is made again from the log's beginning.
 */
async function discardOld(
  partitions: readonly Partition[],
  startOf: (partition: Partition) => Offset,
  { settings, table, nowMs }: ArrivalOptions,
): Promise<void> {
  const old = partitions.filter(partition => {
    const stored = table.storedPosition(partition)
    if (stored === undefined) return false
    return stored.next < startOf(partition) || nowMs - stored.appendTimeMs > settings.tombstoneRetentionMs / 2
  })
  if (old.length > 0) await table.discard(new Set(old))
}
