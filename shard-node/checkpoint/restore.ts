import { FreshetError } from '../../schemas/errors.ts'
import { asOffset, asPartition, type Offset, type Partition } from '../../schemas/ids.ts'
import type { LogReader } from '../../topologies/event-log.ts'
import type { ShardNodeOptions } from '../shard-node-options.ts'
import type { SavedPosition } from '../shard-state.ts'
import type { CheckpointDirectory, FoundCheckpoint } from './checkpoint-directory.ts'
import type { CheckpointManifest } from './manifest.ts'

/** Whose checkpoint it is; one of another identity is refused. */
export type CheckpointIdentity = Pick<ShardNodeOptions, 'generation' | 'acceptance' | 'partitions'>

export interface RestoreOptions<Content> {
  readonly identity: CheckpointIdentity
  readonly directory: CheckpointDirectory
  /** A sibling's snapshot, for when the directory holds nothing usable. */
  readonly seed: CheckpointDirectory | null
  readonly nowMs: number
  readonly tombstoneRetentionMs: number
  /** @throws FreshetError `offset-out-of-range` */
  readonly openReader: (next: ReadonlyMap<Partition, Offset>) => Promise<LogReader>
  /** Opens items and vectors; null: of an empty shard. @throws FreshetError `checkpoint-corrupt` */
  readonly load: (manifest: CheckpointManifest | null) => Promise<Content>
  readonly onAlarm: (error: FreshetError) => void
}

export interface RestoredShard<Content> {
  readonly content: Content
  readonly reader: LogReader
  /** Null when the shard starts from the beginning of the log. */
  readonly manifest: CheckpointManifest | null
}

/**
 * The newest usable checkpoint, else the sibling's snapshot, else an empty shard at the start of the log. A checkpoint
 * that is damaged is set aside, one that is too old is removed; both are alarms, and the next one is tried.
 * @throws FreshetError `fingerprint-mismatch` | `topic-epoch` | `data-format`: the directory belongs to another
 * generation, epoch or newer version of the program, which no rebuild puts right
 */
export async function restoreShard<Content>(options: RestoreOptions<Content>): Promise<RestoredShard<Content>> {
  const { directory, seed, openReader, load } = options
  for (const found of await directory.find()) {
    const restored = await tryCheckpoint(found, options)
    if (restored !== null) return restored
  }
  for (const found of (await seed?.find()) ?? []) {
    const restored = await trySnapshot(found, options)
    if (restored !== null) return restored
  }
  await directory.prune(() => new Set())
  const reader = await openReader(new Map())
  try {
    return { reader, content: await load(null), manifest: null }
  } catch (thrown) {
    await reader.close()
    throw thrown
  }
}

/** Where the checkpoint ends. */
export function positionOf(manifest: CheckpointManifest): SavedPosition {
  const { next, watermarks, lastAppendTimeMs, refused } = manifest
  return { next: offsetsOf(next), watermarks: byPartition(watermarks), lastAppendTimeMs, refused }
}

/** Null when the checkpoint is of no use and the next one is to be tried. */
async function tryCheckpoint<Content>(
  found: FoundCheckpoint,
  options: RestoreOptions<Content>,
): Promise<RestoredShard<Content> | null> {
  try {
    return await open(found, options)
  } catch (thrown) {
    const refused = asRefusal(thrown)
    options.onAlarm(refused)
    if (refused.code === 'checkpoint-corrupt') await options.directory.quarantine(found)
    else await options.directory.discard(found)
    return null
  }
}

/** As `tryCheckpoint`, of another directory, which stays as it is. */
async function trySnapshot<Content>(
  found: FoundCheckpoint,
  options: RestoreOptions<Content>,
): Promise<RestoredShard<Content> | null> {
  const { seed, directory } = options
  try {
    const restored = await open(found, options, manifest => seed!.copyFiles(manifest, directory.files))
    await directory.adopt(restored.manifest)
    return restored
  } catch (thrown) {
    const { code, message } = asRefusal(thrown)
    options.onAlarm(new FreshetError(code, `the snapshot in ${seed!.files.directory}: ${message}`))
    return null
  }
}

async function open<Content>(
  found: FoundCheckpoint,
  options: RestoreOptions<Content>,
  prepare: (manifest: CheckpointManifest) => Promise<void> = async () => {},
): Promise<RestoredShard<Content> & { readonly manifest: CheckpointManifest }> {
  if ('error' in found) throw found.error
  const { manifest } = found
  requireIdentity(manifest, options.identity)
  const reader = await openReaderOf(manifest, options)
  try {
    await prepare(manifest)
    return { reader, content: await options.load(manifest), manifest }
  } catch (thrown) {
    await reader.close()
    throw thrown
  }
}

/** What only makes this checkpoint useless; anything else is thrown on. */
function asRefusal(thrown: unknown): FreshetError {
  if (thrown instanceof FreshetError && (thrown.code === 'checkpoint-corrupt' || thrown.code === 'checkpoint-too-old'))
    return thrown
  throw thrown
}

function requireIdentity(manifest: CheckpointManifest, identity: CheckpointIdentity): void {
  const { acceptance, generation, partitions } = identity
  if (manifest.topicEpoch !== acceptance.topicEpoch)
    throw new FreshetError(
      'topic-epoch',
      `the checkpoint is of epoch ${manifest.topicEpoch}, the generation of ${acceptance.topicEpoch}`,
    )
  if (manifest.fingerprint !== acceptance.fingerprint || manifest.dims !== acceptance.dims)
    throw new FreshetError(
      'fingerprint-mismatch',
      `the checkpoint holds vectors of ${manifest.fingerprint.slice(0, 12)}`,
    )
  const held = Object.keys(manifest.next)
    .map(Number)
    .sort((a, b) => a - b)
  const owned = [...partitions].sort((a, b) => a - b)
  if (manifest.generation !== generation || held.join() !== owned.join())
    throw new FreshetError(
      'data-format',
      `the checkpoint is of generation ${manifest.generation} and partitions ${held.join(', ')}`,
      { details: { step: 'give the shard its own directory, or remove this one to rebuild from the log' } },
    )
}

/** A reader from where the checkpoint ends. @throws FreshetError `checkpoint-too-old` when the log cannot go on from there */
async function openReaderOf<Content>(
  manifest: CheckpointManifest,
  { nowMs, tombstoneRetentionMs, openReader }: RestoreOptions<Content>,
): Promise<LogReader> {
  const ageMs = nowMs - manifest.lastAppendTimeMs
  if (manifest.lastAppendTimeMs > 0 && ageMs > tombstoneRetentionMs)
    throw new FreshetError(
      'checkpoint-too-old',
      `the checkpoint's last record is ${Math.round(ageMs / 1000)} s old, removals since may be gone`,
    )
  try {
    return await openReader(offsetsOf(manifest.next))
  } catch (thrown) {
    if (!(thrown instanceof FreshetError) || thrown.code !== 'offset-out-of-range') throw thrown
    const why = `the log does not hold the checkpoint's position: ${thrown.message}`
    throw new FreshetError('checkpoint-too-old', why, { cause: thrown })
  }
}

function offsetsOf(next: Readonly<Record<string, number>>): Map<Partition, Offset> {
  return new Map([...byPartition(next)].map(([partition, offset]) => [partition, asOffset(offset)]))
}

function byPartition<T>(record: Readonly<Record<string, T>>): Map<Partition, T> {
  return new Map(Object.entries(record).map(([partition, value]) => [asPartition(Number(partition)), value]))
}
