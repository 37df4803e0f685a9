import { FreshetError } from '../schemas/errors.ts'
import { asOffset, asPartition, type Offset, type Partition } from '../schemas/ids.ts'
import type { LogReader } from '../topologies/event-log.ts'
import type { CheckpointDirectory, FoundCheckpoint } from './checkpoint-directory.ts'
import { type CheckpointManifest, checkpointFormat } from './checkpoint-manifest.ts'
import { readItems, writeItems } from './items-file.ts'
import type { RestoreRequest } from './search-messages.ts'
import type { Searcher } from './searcher.ts'
import type { ShardNodeOptions } from './shard-node-options.ts'
import { ShardState } from './shard-state.ts'

/** Whose checkpoint it is; one of another identity is refused. */
export type CheckpointIdentity = Pick<ShardNodeOptions, 'generation' | 'acceptance' | 'partitions'>

export interface RestoreOptions {
  readonly identity: CheckpointIdentity
  readonly directory: CheckpointDirectory
  readonly searcher: Searcher
  readonly nowMs: number
  readonly tombstoneRetentionMs: number
  /** @throws FreshetError `offset-out-of-range` */
  readonly openReader: (next: ReadonlyMap<Partition, Offset>) => Promise<LogReader>
  readonly onAlarm: (error: FreshetError) => void
}

export interface RestoredShard {
  readonly state: ShardState
  readonly reader: LogReader
  /** Null when the shard starts from the beginning of the log. */
  readonly manifest: CheckpointManifest | null
}

/**
 * The newest usable checkpoint, or an empty shard at the start of the log. A checkpoint that is damaged is set aside,
 * one that is too old is removed; both are alarms, and the next one is tried.
 * @throws FreshetError `fingerprint-mismatch` | `topic-epoch` | `data-format`: the directory belongs to another
 * generation, epoch or version of the program, which no rebuild puts right
 */
export async function restoreShard(options: RestoreOptions): Promise<RestoredShard> {
  for (const found of await options.directory.find()) {
    const restored = await tryCheckpoint(found, options)
    if (restored !== null) return restored
  }
  const { acceptance, partitions } = options.identity
  return {
    state: new ShardState(acceptance, partitions),
    reader: await options.openReader(new Map()),
    manifest: null,
  }
}

/**
 * Writes the files of a checkpoint of this moment: call it when everything applied is shown. The picture is taken
 * before the promise is returned; the files are durable when it resolves, and count once the manifest is published.
 */
export async function writeCheckpoint(options: {
  readonly identity: CheckpointIdentity
  readonly directory: CheckpointDirectory
  readonly searcher: Searcher
  readonly state: ShardState
  readonly sequence: number
  readonly published: CheckpointManifest | null
  readonly nowMs: number
}): Promise<CheckpointManifest> {
  const { identity, directory, searcher, state, sequence, published } = options
  const items = [...state.table.items()].map(({ ordinal, partition, state: saved }) => ({
    ordinal,
    partition,
    state: saved,
  }))
  const picture = pictureOf(state)
  const request = { sequence, published: published?.graph ?? null }
  const [rows, savedItems] = await Promise.allSettled([
    searcher.ask('checkpoint', request, answer => answer),
    writeItems({ directory: directory.path, file: `items-${sequence}` }, items),
  ])
  if (rows.status === 'rejected') throw rows.reason
  if (savedItems.status === 'rejected') throw savedItems.reason
  return {
    format: checkpointFormat,
    sequence,
    writtenAtMs: options.nowMs,
    generation: identity.generation,
    fingerprint: identity.acceptance.fingerprint,
    dims: identity.acceptance.dims,
    topicEpoch: identity.acceptance.topicEpoch,
    ...picture,
    items: savedItems.value,
    ...rows.value,
  }
}

function pictureOf(
  state: ShardState,
): Pick<CheckpointManifest, 'next' | 'lastAppendTimeMs' | 'watermarks' | 'digests' | 'refused'> {
  return {
    next: Object.fromEntries(state.next),
    lastAppendTimeMs: state.lastAppendTimeMs,
    watermarks: Object.fromEntries(state.watermarks),
    digests: Object.fromEntries([...state.digests].map(([partition, digests]) => [partition, digests.total()])),
    refused: [...state.refused.open],
  }
}

/** Null when the checkpoint is of no use and the next one is to be tried. */
async function tryCheckpoint(found: FoundCheckpoint, options: RestoreOptions): Promise<RestoredShard | null> {
  const { directory, onAlarm } = options
  if ('error' in found) {
    if (found.error.code === 'data-format') throw found.error
    onAlarm(found.error)
    await directory.quarantine(found)
    return null
  }
  const { manifest } = found
  requireIdentity(manifest, options.identity)
  const reader = await openReaderOf(found, options)
  if (reader === null) return null
  try {
    return { state: await load(manifest, options), reader, manifest }
  } catch (thrown) {
    await reader.close()
    if (!(thrown instanceof FreshetError) || thrown.code !== 'checkpoint-corrupt') throw thrown
    onAlarm(thrown)
    await directory.quarantine(found)
    return null
  }
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

/** A reader from where the checkpoint ends; null, after removing the checkpoint, when the log cannot go on from there. */
async function openReaderOf(
  found: Extract<FoundCheckpoint, { manifest: unknown }>,
  options: RestoreOptions,
): Promise<LogReader | null> {
  const { manifest } = found
  const refuse = async (why: string): Promise<null> => {
    options.onAlarm(new FreshetError('checkpoint-too-old', why))
    await options.directory.discard(found)
    return null
  }
  const ageMs = options.nowMs - manifest.lastAppendTimeMs
  if (manifest.lastAppendTimeMs > 0 && ageMs > options.tombstoneRetentionMs)
    return refuse(`the checkpoint's last record is ${Math.round(ageMs / 1000)} s old, removals since may be gone`)
  try {
    return await options.openReader(offsetsOf(manifest.next))
  } catch (thrown) {
    if (!(thrown instanceof FreshetError) || thrown.code !== 'offset-out-of-range') throw thrown
    return refuse(`the log does not hold the checkpoint's position: ${thrown.message}`)
  }
}

/** @throws FreshetError `checkpoint-corrupt` */
async function load(manifest: CheckpointManifest, options: RestoreOptions): Promise<ShardState> {
  const { acceptance, partitions } = options.identity
  const state = new ShardState(acceptance, partitions)
  await readItems(options.directory.path, manifest.items, item =>
    state.restoreItem(item.ordinal, item.partition, item.state),
  )
  for (const [partition, digests] of state.digests) {
    const saved = manifest.digests[partition]
    const { set, objects } = digests.total()
    if (saved?.set !== set || saved.objects !== objects)
      throw new FreshetError('checkpoint-corrupt', `the items of partition ${partition} do not add up to their digest`)
  }
  const { graphRefused } = await options.searcher.ask('restore', restoreRequest(manifest, state), answer => answer)
  if (graphRefused !== null) {
    options.onAlarm(new FreshetError(graphRefused.code, `the graph is built anew: ${graphRefused.message}`))
    await options.directory.quarantineFiles(manifest)
  }
  state.restored({
    next: offsetsOf(manifest.next),
    watermarks: byPartition(manifest.watermarks),
    lastAppendTimeMs: manifest.lastAppendTimeMs,
    refused: manifest.refused,
  })
  return state
}

function restoreRequest(manifest: CheckpointManifest, state: ShardState): RestoreRequest {
  const objectCounts = new Uint8Array(state.table.limit)
  const shown = new Uint8Array(state.table.limit)
  const ties = new Uint32Array(state.table.limit)
  for (const item of state.table.items()) {
    objectCounts[item.ordinal] = item.state.objects?.objects.length ?? 0
    shown[item.ordinal] = item.state.attributes === null ? 0 : 1
    ties[item.ordinal] = item.idHash
  }
  return { rows: manifest.rows, graph: manifest.graph, objectCounts, shown, ties }
}

function offsetsOf(next: Readonly<Record<string, number>>): Map<Partition, Offset> {
  return new Map([...byPartition(next)].map(([partition, offset]) => [partition, asOffset(offset)]))
}

function byPartition<T>(record: Readonly<Record<string, T>>): Map<Partition, T> {
  return new Map(Object.entries(record).map(([partition, value]) => [asPartition(Number(partition)), value]))
}
