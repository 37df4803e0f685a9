import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import { type CheckpointIdentity, writeCheckpoint } from './checkpoint.ts'
import type { CheckpointDirectory } from './checkpoint-directory.ts'
import type { CheckpointManifest } from './checkpoint-manifest.ts'
import type { Searcher } from './searcher.ts'
import type { ShardState } from './shard-state.ts'

export interface CheckpointsOptions {
  readonly identity: CheckpointIdentity
  readonly directory: CheckpointDirectory
  readonly searcher: Searcher
  readonly state: ShardState
  /** The checkpoint that the shard was restored from. */
  readonly restored: CheckpointManifest | null
  readonly clock: () => number
  /** Calls `picture` at a moment when everything applied is shown, and holds the log back until then. */
  readonly atRest: <T>(picture: () => T) => Promise<T>
}

const idleMs = 3_600_000

/** Writes the checkpoints of a running shard, one at a time. */
export class Checkpoints {
  readonly #options: CheckpointsOptions
  #published: CheckpointManifest | null
  /** The state's register writes that the newest checkpoint holds. */
  #savedWrites = 0
  #work: Promise<unknown> = Promise.resolve()

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

  /** Writes a checkpoint and copies it to `target`. @throws FreshetError `storage-failed` | `storage-full` */
  exportTo(target: string): Promise<void> {
    return this.#inTurn(async () => {
      await this.#write()
      await this.#options.directory.copyNewest(target)
    })
  }

  /**
   * Whether a checkpoint is worth writing: a register changed since the newest one, or that one is an hour old, so
   * that an idle shard's checkpoint does not grow too old to use.
   */
  isBehind(): boolean {
    const { state, clock } = this.#options
    if (state.registerWrites !== this.#savedWrites) return true
    return this.#published !== null && clock() - this.#published.writtenAtMs > idleMs
  }

  async #write(): Promise<void> {
    const { identity, directory, searcher, state, clock } = this.#options
    const sequence = await directory.nextSequence()
    const { registerWrites, writing } = await this.#options.atRest(() => ({
      registerWrites: state.registerWrites,
      writing: writeCheckpoint({
        identity,
        directory,
        searcher,
        state,
        sequence,
        published: this.#published,
        nowMs: clock(),
      }),
    }))
    const manifest = await writing
    await directory.publish(manifest)
    this.#published = manifest
    this.#savedWrites = registerWrites
  }

  #inTurn(work: () => Promise<void>): Promise<void> {
    const turn = this.#work.then(work).catch(async thrown => {
      await this.#options.directory.prune()
      throw storageError(thrown)
    })
    this.#work = turn.catch(() => undefined)
    return turn
  }
}

function storageError(thrown: unknown): FreshetError {
  if (thrown instanceof FreshetError && thrown.code !== 'internal') return thrown
  const { message } = asFreshetError(thrown)
  const code = message.includes('ENOSPC') ? 'storage-full' : 'storage-failed'
  return new FreshetError(code, `the checkpoint could not be written: ${message}`, { cause: thrown })
}
