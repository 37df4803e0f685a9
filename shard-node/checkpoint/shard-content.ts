import { FreshetError } from '../../schemas/errors.ts'
import { DiskItemStore, type ItemStoreTuning } from '../items/disk-item-store.ts'
import { SegmentedIndex, type SegmentedIndexOptions } from '../segments/segmented-index.ts'
import type { CheckpointDirectory } from './checkpoint-directory.ts'
import type { CheckpointManifest } from './manifest.ts'
import type { CheckpointIdentity } from './restore.ts'

/** Items and vectors of a shard. */
export interface ShardContent {
  readonly items: DiskItemStore
  readonly index: SegmentedIndex
}

export interface ContentOptions
  extends Pick<SegmentedIndexOptions, 'tuning' | 'onDiskStep' | 'onAlarm' | 'onFailure' | 'shouldAudit' | 'onAudit'> {
  readonly identity: CheckpointIdentity
  readonly directory: CheckpointDirectory
  readonly itemTuning?: Partial<ItemStoreTuning>
}

/**
 * Opens the content of a checkpoint, or of an empty shard. Which rows are seen the items decide: a row that is not of
 * its item's current set stays out of searches, whatever the files say.
 * @throws FreshetError `checkpoint-corrupt`: files are missing or damaged, or do not fit together; storage codes
 */
export async function openContent(manifest: CheckpointManifest | null, options: ContentOptions): Promise<ShardContent> {
  const { identity, directory, itemTuning = {}, ...indexOptions } = options
  const { files } = directory
  const items = await DiskItemStore.open({
    files,
    saved: manifest?.items ?? null,
    epoch: identity.acceptance.topicEpoch,
    partitions: identity.partitions,
    tuning: itemTuning,
  })
  try {
    if (manifest !== null) requireDigests(items, manifest)
    const index = await SegmentedIndex.open({
      ...indexOptions,
      directory: files.directory,
      dims: identity.acceptance.dims,
      ties: items.ties,
      saved: manifest?.segments ?? [],
      standing: (item, ordinal) => items.setLookup(item, ordinal),
      currentRows: items.currentRows,
      lastSegmentId: await directory.lastNumber(),
    })
    return { items, index }
  } catch (thrown) {
    await items.close()
    throw thrown
  }
}

function requireDigests(items: DiskItemStore, manifest: CheckpointManifest): void {
  for (const [partition, digests] of items.digests) {
    const saved = manifest.digests[partition]
    const { set, objects } = digests.total()
    if (saved?.set !== set || saved.objects !== objects)
      throw new FreshetError('checkpoint-corrupt', `the items of partition ${partition} do not add up to their digest`)
  }
}
