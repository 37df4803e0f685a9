import { asPartition } from '../../schemas/ids.ts'
import { catalogTopic } from '../../schemas/topics.ts'
import { openDataDirectory } from '../../topologies/embedded/data-directory.ts'
import { EmbeddedEventLog } from '../../topologies/embedded/embedded-event-log.ts'
import { EmbeddedEnvironment } from '../../topologies/embedded/environment.ts'

/**
 * Makes a data directory that holds nothing but the catalog of another, record by record at the same offsets: a
 * server started on it replays it undisturbed. Both must not be served.
 * @throws Error when an offset comes out differently, as after log compaction
 */
export async function copyCatalog(from: string, to: string, partitions: number): Promise<number> {
  const [source, target] = [await openDataDirectory(from), await openDataDirectory(to)]
  const reading = await EmbeddedEnvironment.open({ directory: source.logDirectory, clock: Date.now })
  const writing = await EmbeddedEnvironment.open({ directory: target.logDirectory, clock: Date.now })
  try {
    return await copyRecords(new EmbeddedEventLog(reading), new EmbeddedEventLog(writing), partitions)
  } finally {
    await reading.close()
    await writing.close()
    await source.close()
    await target.close()
  }
}

async function copyRecords(source: EmbeddedEventLog, target: EmbeddedEventLog, partitions: number): Promise<number> {
  await target.ensureTopic({
    name: catalogTopic,
    partitions,
    compacted: true,
    retentionMs: null,
    minCompactionLagMs: 3_600_000,
    tombstoneRetentionMs: 7 * 24 * 3_600_000,
  })
  const reader = await source.openReader({
    topic: catalogTopic,
    partitions: Array.from({ length: partitions }, (_, i) => asPartition(i)),
    from: new Map(),
  })
  let copied = 0
  for (;;) {
    const records = await reader.poll(1_000, 0)
    if (records.length === 0) break
    const appended = await target.append(catalogTopic, records)
    const moved = appended.findIndex(({ offset }, i) => offset !== records[i]!.offset)
    if (moved >= 0) throw new Error(`offset ${records[moved]!.offset} became ${appended[moved]!.offset}`)
    copied += records.length
  }
  await reader.close()
  return copied
}
