import type { ShardFiles } from '../files/shard-files.ts'
import type { SegmentedIndex } from '../segments/segmented-index.ts'
import type { ShardState } from '../shard-state.ts'
import type { CheckpointDirectory } from './checkpoint-directory.ts'
import { type CheckpointManifest, checkpointFormat, filesOf } from './manifest.ts'
import type { CheckpointIdentity } from './restore.ts'

export interface CheckpointsOptions {
  readonly identity: CheckpointIdentity
  readonly directory: CheckpointDirectory
  readonly state: ShardState
  readonly index: SegmentedIndex
  /** The checkpoint that the shard was restored from. */
  readonly restored: CheckpointManifest | null
  readonly tombstoneRetentionMs: number
  readonly clock: () => number
}

const idleMs = 3_600_000

/** Writes the checkpoints of a running shard, one at a time, while it goes on applying and searching. */
export class Checkpoints {
  readonly #options: CheckpointsOptions
  #published: CheckpointManifest | null
  /** The state's register writes that the newest checkpoint holds. */
  #savedWrites = 0
  #work: Promise<unknown> = Promise.resolve()
  /** Asked for and not done. */
  #turns = 0

  constructor(options: CheckpointsOptions) {
    this.#options = options
    this.#published = options.restored
  }

  /** The newest one; null when there is none. */
  get published(): CheckpointManifest | null {
    return this.#published
  }

  /** @throws FreshetError `storage-failed` | `storage-full`: the checkpoint before stays the newest */
  write(): Promise<void> {
    return this.#inTurn(() => this.#write())
  }

  /** Writes a checkpoint and puts it into `target` too. @throws FreshetError `storage-failed` | `storage-full` */
  exportTo(target: ShardFiles): Promise<void> {
    return this.#inTurn(async () => {
      await this.#options.directory.linkTo(target, await this.#write())
    })
  }

  get isWriting(): boolean {
    return this.#turns > 0
  }

  /** Resolves when nothing is being written any more. */
  async idle(): Promise<void> {
    await this.#work
  }

  /**
   * Whether a checkpoint is worth writing: a register changed since the newest one, or that one holds on to files that
   * the index has merged, or it is an hour old, so that an idle shard's checkpoint does not grow too old to use.
   */
  isBehind(): boolean {
    const { state, clock } = this.#options
    if (state.registerWrites !== this.#savedWrites) return true
    if (this.#published === null) return false
    return this.holdsMerged() || clock() - this.#published.writtenAtMs > idleMs
  }

  /** Whether the newest checkpoint names files that nothing but itself needs. */
  holdsMerged(): boolean {
    if (this.#published === null) return false
    const inUse = this.#inUse()
    return filesOf(this.#published).some(({ file }) => !inUse.has(file))
  }

  async #write(): Promise<CheckpointManifest> {
    const { directory, state, index, identity, clock, tombstoneRetentionMs } = this.#options
    await state.forgetRemoved(clock() - tombstoneRetentionMs)
    // Everything up to the first `await` is one picture: the index and the store take theirs before they return.
    const { registerWrites } = state
    const picture = pictureOf(state)
    const [segments, items] = await Promise.allSettled([index.segmentsForCheckpoint(), state.items.flush()])
    if (segments.status === 'rejected') throw segments.reason
    if (items.status === 'rejected') throw items.reason
    const { generation, acceptance } = identity
    const manifest = {
      format: checkpointFormat,
      sequence: (this.#published?.sequence ?? 0) + 1,
      writtenAtMs: clock(),
      generation,
      fingerprint: acceptance.fingerprint,
      dims: acceptance.dims,
      topicEpoch: acceptance.topicEpoch,
      ...picture,
      items: items.value,
      segments: segments.value,
    }
    await directory.publish(manifest, () => this.#inUse())
    this.#published = manifest
    this.#savedWrites = registerWrites
    return manifest
  }

  /** Files that the running shard reads or writes. */
  #inUse(): ReadonlySet<string> {
    const { index, state } = this.#options
    return new Set([...index.segmentsInUse(), ...state.items.filesInUse()])
  }

  #inTurn(work: () => Promise<unknown>): Promise<void> {
    const turn = this.#work.then(() => this.#do(work))
    this.#turns++
    this.#work = turn.catch(() => undefined)
    return turn
  }

  async #do(work: () => Promise<unknown>): Promise<void> {
    try {
      await work()
    } catch (thrown) {
      // On a full disk this makes room for the next attempt; why that may fail too is told by the first error.
      await this.#options.directory.prune(() => this.#inUse()).catch(() => undefined)
      throw thrown
    } finally {
      this.#turns--
    }
  }
}

type Picture = Pick<CheckpointManifest, 'next' | 'lastAppendTimeMs' | 'watermarks' | 'digests' | 'refused'>

function pictureOf(state: ShardState): Picture {
  return {
    next: Object.fromEntries(state.next),
    lastAppendTimeMs: state.lastAppendTimeMs,
    watermarks: Object.fromEntries(state.watermarks),
    digests: Object.fromEntries([...state.items.digests].map(([partition, digests]) => [partition, digests.total()])),
    refused: [...state.refused.open],
  }
}
