import { mkdir, open as openFile, readdir } from 'node:fs/promises'
import { join } from 'node:path'
import { setImmediate as nextTick } from 'node:timers/promises'
import { type Database, open as openLmdb, type RootDatabase } from 'lmdb'
import { FreshetError } from '../../schemas/errors.ts'
import { CommitPace } from './commit-pace.ts'
import { SpaceGuard } from './space-guard.ts'
import { commitFailure } from './storage-failure.ts'
import { StagedWrites, type WriteBatch } from './write-batch.ts'

/** Named databases of the environment; `record-layout.ts` and each adapter document their rows. */
const tableNames = [
  'topics',
  'partitions',
  'records',
  'lastOffsets',
  'tombstones',
  'groupOffsets',
  'jobs',
  'jobStates',
  'features',
  'keyValues',
] as const
export type TableName = (typeof tableNames)[number]

export interface EnvironmentOptions {
  /** Created when missing. Nobody else may use it: see `openDataDirectory`. */
  readonly directory: string
  readonly clock: () => number
  /** Bytes in use by live data above which growing writes are refused with `storage-full`. */
  readonly maxBytes?: number
  /** Free bytes on the disk below which growing writes are refused with `storage-full`. */
  readonly minFreeBytes?: number
  readonly log?: { warn(fields: object, message: string): void }
}

export interface Row {
  readonly key: Buffer
  readonly value: Buffer
}

export interface RowRange {
  /** Inclusive, unless `exclusiveStart`. With `reverse` the higher bound. */
  readonly start: Uint8Array
  /** Exclusive. With `reverse` the lower bound. */
  readonly end: Uint8Array
  readonly limit?: number
  readonly reverse?: boolean
  readonly exclusiveStart?: boolean
}

/** Background work on stored data, such as log compaction. A slice takes the event loop for at most about 5 ms. */
export interface Upkeep {
  /** Does one slice of due work. Returns whether it did any, so that more may be due. */
  runSlice(): Promise<boolean>
}

interface PendingWrite {
  readonly tick: number
  readonly stage: (batch: WriteBatch) => void
  readonly succeed: () => void
  readonly fail: (error: unknown) => void
}

/** An adapter while it uses the environment. */
export interface Attachment {
  /** The table that only one adapter at a time may write, because it keeps what is in it in memory. */
  readonly table: TableName
  readonly upkeep?: Upkeep
}

type CommitState = 'idle' | 'scheduled' | 'committing'

const defaultMinFreeBytes = 64 * 2 ** 20
/** Bounds of one transaction. All writes of one tick stay together even beyond them. */
const maxOperationsPerCommit = 4096
const maxBytesPerCommit = 32 * 2 ** 20
const maxStagingMs = 4
const upkeepIntervalMs = 1000
/** Pause between background slices, so that upkeep takes a fraction of the event loop while events flow. */
const upkeepPauseMs = 5

/**
 * One LMDB environment, opened by one process: log, queue, store and bookkeeping of the one-machine form.
 *
 * Group commit: idle → (first write) scheduled → (end of the tick, or later: `CommitPace`) committing → idle or
 * scheduled. Writes issued in one tick, by all ports, are one transaction; those that arrive while a commit is under
 * way form the next one. A `write` resolves when its transaction is on disk (fdatasync, then the meta page), and
 * nothing of it is visible to a read before that. B-tree work and fsync run on LMDB's writer thread, never on the
 * event loop.
 *
 * Library traps behind this form, in lmdb 3.5.6: `transaction()` never calls back (measured); `transactionSync` waits
 * for fsync on the event loop; with `eventTurnBatching` a failed commit is an unhandled rejection (measured); with
 * `overlappingSync` rows are visible before they are durable, and a failed fsync never settles. So: explicit batches
 * only, both options off; then a failed commit rejects, and the environment goes on (measured on a full disk).
 */
export class EmbeddedEnvironment {
  readonly directory: string
  readonly clock: () => number
  readonly #root: RootDatabase<Uint8Array, Uint8Array>
  readonly #tables: ReadonlyMap<TableName, Table>
  readonly #space: SpaceGuard
  readonly #log: EnvironmentOptions['log']
  readonly #attachments = new Map<TableName, Attachment>()
  #state: CommitState = 'idle'
  readonly #pending: PendingWrite[] = []
  readonly #pace = new CommitPace()
  #tick = 0
  #tickIsOpen = false
  #committed: Promise<void> = Promise.resolve()
  #copying: Promise<void> = Promise.resolve()
  #upkeepTimer: NodeJS.Timeout | undefined
  #upkeepRun: Promise<void> = Promise.resolve()
  #closed: Promise<void> | null = null
  #isReadable = true

  /** @throws FreshetError `storage-failed` when the environment cannot be opened */
  static async open(options: EnvironmentOptions): Promise<EmbeddedEnvironment> {
    await mkdir(options.directory, { recursive: true })
    const environment = new EmbeddedEnvironment(options)
    await syncDirectory(options.directory)
    await environment.#space.check()
    environment.#scheduleUpkeep(upkeepIntervalMs)
    return environment
  }

  private constructor(options: EnvironmentOptions) {
    this.directory = options.directory
    this.clock = options.clock
    this.#log = options.log
    const { root, tables } = openTables(options.directory)
    this.#root = root
    this.#tables = tables
    this.#space = new SpaceGuard({
      directory: options.directory,
      maxBytes: options.maxBytes ?? Number.POSITIVE_INFINITY,
      minFreeBytes: options.minFreeBytes ?? defaultMinFreeBytes,
      usedBytes: () => this.#usedBytes(),
    })
  }

  /**
   * Runs `operations` when its transaction is put together and resolves with its result once that is durable.
   * All writes of a transaction take effect or none: an operation that throws fails its whole transaction.
   * With `reclaims` the write is let through on a full disk, because it frees what others need.
   * @throws FreshetError `storage-full` | `storage-failed` | `not-ready` (closed); whatever `operations` throws
   */
  async write<T>(operations: (batch: WriteBatch) => T, options?: { readonly reclaims: boolean }): Promise<T> {
    if (!options?.reclaims && this.#space.isLow()) await this.#space.requireSpace()
    if (this.#closed !== null) throw new FreshetError('not-ready', 'the storage is closed')
    return new Promise<T>((resolve, reject) => {
      let result!: T
      const stage = (batch: WriteBatch) => {
        result = operations(batch)
      }
      this.#pending.push({ tick: this.#currentTick(), stage, succeed: () => resolve(result), fail: reject })
      if (this.#state === 'idle') this.#scheduleCommit()
    })
  }

  /** The committed value, copied. @throws FreshetError `not-ready` (closed) */
  get(table: TableName, key: Uint8Array): Buffer | undefined {
    return this.#readable(table).getBinary(key)
  }

  /**
   * Committed rows in order of key bytes, copied. To be read in the tick it was asked for.
   * @throws FreshetError `not-ready` (closed)
   */
  range(table: TableName, range: RowRange): Iterable<Row> {
    return this.#readable(table).getRange(range) as Iterable<Row>
  }

  /** Returns what detaches it. @throws Error when another adapter has the table */
  attach(attachment: Attachment): () => Promise<void> {
    const { table } = attachment
    if (this.#attachments.has(table)) throw new Error(`two adapters of one environment would write ${table}`)
    this.#attachments.set(table, attachment)
    return async () => {
      if (this.#attachments.get(table) === attachment) this.#attachments.delete(table)
      await this.#upkeepRun
    }
  }

  /** Does all upkeep that is due now, without pauses. */
  compactNow(): Promise<void> {
    return this.#runUpkeep(() => nextTick())
  }

  /**
   * A consistent, compacted copy in an empty or new directory, taken while writes go on; opening it is restoring.
   * @throws FreshetError `storage-failed` when the directory is not empty or the copy fails
   */
  async copyTo(directory: string): Promise<void> {
    await mkdir(directory, { recursive: true })
    if ((await readdir(directory)).length > 0)
      throw new FreshetError('storage-failed', `the copy's directory ${directory} is not empty`)
    const copying = this.#copyInto(directory)
    this.#copying = Promise.allSettled([this.#copying, copying]).then(() => undefined)
    await copying
  }

  /** Waits for writes under way. Later writes are refused. */
  close(): Promise<void> {
    this.#closed ??= this.#close()
    return this.#closed
  }

  async #close(): Promise<void> {
    clearTimeout(this.#upkeepTimer)
    while (this.#state !== 'idle') await this.#committed
    await Promise.all([this.#copying, this.#upkeepRun, this.#space.settled()])
    this.#isReadable = false
    await this.#root.close()
  }

  async #copyInto(directory: string): Promise<void> {
    try {
      await this.#root.backup(directory, true)
      await syncDirectory(directory)
    } catch (cause) {
      throw new FreshetError('storage-failed', `copying the storage to ${directory} failed`, { cause })
    }
  }

  #scheduleCommit(): void {
    this.#state = 'scheduled'
    this.#committed = new Promise(resolve => {
      const beginInTime = (): void => {
        const waitMs = this.#closed === null ? this.#pace.waitMs(this.#pending.length) : 0
        if (waitMs > 0) setTimeout(beginInTime, waitMs)
        else void this.#commit().then(resolve)
      }
      setImmediate(beginInTime)
    })
  }

  /** Never rejects: every outcome goes to the writers. */
  async #commit(): Promise<void> {
    this.#state = 'committing'
    this.#pace.began()
    this.#space.refresh()
    const staged = new StagedWrites()
    const { writes, thrown } = this.#stage(staged)
    const failure = thrown === null ? await this.#persist(staged) : neighbourFailed(thrown.error)
    staged.settle(failure === null)
    for (const write of writes) {
      if (failure === null) write.succeed()
      else write.fail(write === thrown?.by ? thrown.error : failure)
    }
    this.#state = 'idle'
    if (this.#pending.length > 0) this.#scheduleCommit()
  }

  /** Runs pending writes, whole ticks at a time, up to the bounds. Of the tick of one that threw, the rest is not run. */
  #stage(staged: StagedWrites): {
    readonly writes: readonly PendingWrite[]
    readonly thrown: { readonly by: PendingWrite; readonly error: unknown } | null
  } {
    const startedAt = performance.now()
    let thrown: { by: PendingWrite; error: unknown } | null = null
    let count = 0
    for (const write of this.#pending) {
      const isNextTick = count > 0 && write.tick !== this.#pending[count - 1]!.tick
      if (isNextTick && (thrown !== null || isFull(staged) || performance.now() - startedAt > maxStagingMs)) break
      count++
      if (thrown !== null) continue
      try {
        write.stage(staged)
      } catch (error) {
        thrown = { by: write, error }
      }
    }
    return { writes: this.#pending.splice(0, count), thrown }
  }

  /** Returns null when durable, else why not; then nothing of it is stored. */
  async #persist(staged: StagedWrites): Promise<FreshetError | null> {
    if (staged.operations.length === 0) return null
    try {
      await (this.#root as unknown as BatchingDatabase).batch(() => {
        for (const { table, key, value } of staged.operations) {
          if (value === null) void this.#table(table).remove(key)
          else void this.#table(table).put(key, value)
        }
      })
      return null
    } catch (thrown) {
      const failure = await commitFailure(thrown, () => this.#space.isDiskFull())
      this.#log?.warn({ code: failure.code, operations: staged.operations.length, err: failure }, 'commit failed')
      return failure
    }
  }

  #currentTick(): number {
    if (!this.#tickIsOpen) {
      this.#tickIsOpen = true
      this.#tick++
      setImmediate(() => {
        this.#tickIsOpen = false
      })
    }
    return this.#tick
  }

  #scheduleUpkeep(delayMs: number): void {
    this.#upkeepTimer = setTimeout(() => {
      void this.#runUpkeep(pause => new Promise(resolve => setTimeout(resolve, pause))).then(() => {
        if (this.#closed === null) this.#scheduleUpkeep(upkeepIntervalMs)
      })
    }, delayMs)
    this.#upkeepTimer.unref()
  }

  /** One run at a time; a second one starts after the first. */
  #runUpkeep(rest: (pauseMs: number) => Promise<unknown>): Promise<void> {
    const run = this.#upkeepRun.then(async () => {
      for (const attachment of [...this.#attachments.values()]) {
        const isAttached = () => this.#closed === null && this.#attachments.get(attachment.table) === attachment
        while (isAttached() && (await this.#runSlice(attachment))) await rest(upkeepPauseMs)
      }
    })
    this.#upkeepRun = run.catch(() => undefined)
    return run
  }

  async #runSlice({ upkeep }: Attachment): Promise<boolean> {
    if (upkeep === undefined) return false
    try {
      return await upkeep.runSlice()
    } catch (error) {
      if (!(error instanceof FreshetError && error.retryable)) throw error
      this.#log?.warn({ code: error.code, err: error }, 'upkeep is put off')
      return false
    }
  }

  /** Bytes that hold rows, without free pages of the file, which LMDB uses again. */
  #usedBytes(): number {
    let pages = 0
    for (const table of this.#tables.values()) {
      const stats = table.getStats() as LmdbStats
      pages += stats.treeBranchPageCount + stats.treeLeafPageCount + stats.overflowPages
    }
    return pages * pageSizeBytes
  }

  /** A read that lmdb sees while it closes ends the process a moment later. */
  #readable(name: TableName): Table {
    if (!this.#isReadable) throw new FreshetError('not-ready', 'the storage is closed')
    return this.#table(name)
  }

  #table(name: TableName): Table {
    return this.#tables.get(name)!
  }
}

type Table = Database<Uint8Array, Uint8Array>

interface LmdbStats {
  readonly treeBranchPageCount: number
  readonly treeLeafPageCount: number
  readonly overflowPages: number
}

/** `batch` is documented by lmdb but missing in its types. */
interface BatchingDatabase {
  batch(operations: () => void): Promise<boolean>
}

const pageSizeBytes = 4096
const binaryTable = { encoding: 'binary', keyEncoding: 'binary' } as const

/** In one transaction, because each would wait for the disk of its own when it makes its table. */
function openTables(directory: string): {
  readonly root: RootDatabase<Uint8Array, Uint8Array>
  readonly tables: ReadonlyMap<TableName, Table>
} {
  try {
    const root = openLmdb<Uint8Array, Uint8Array>({
      path: directory,
      maxDbs: tableNames.length,
      pageSize: pageSizeBytes,
      overlappingSync: false,
      eventTurnBatching: false,
      ...binaryTable,
    })
    const tables = root.transactionSync(
      () => new Map(tableNames.map(name => [name, root.openDB<Uint8Array, Uint8Array>({ name, ...binaryTable })])),
    )
    return { root, tables }
  } catch (cause) {
    throw new FreshetError('storage-failed', `the storage in ${directory} cannot be opened`, { cause })
  }
}

function isFull(staged: StagedWrites): boolean {
  return staged.operations.length >= maxOperationsPerCommit || staged.bytes >= maxBytesPerCommit
}

function neighbourFailed(cause: unknown): FreshetError {
  return new FreshetError('storage-failed', 'another write of the same transaction failed', { cause })
}

/** Makes new directory entries survive a power loss. */
async function syncDirectory(directory: string): Promise<void> {
  for (const path of [...(await readdir(directory)).map(name => join(directory, name)), directory]) {
    const handle = await openFile(path, 'r')
    try {
      await handle.sync()
    } finally {
      await handle.close()
    }
  }
}
