import { mkdir, open, readdir, readFile, rename, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { DatabaseSync } from 'node:sqlite'
import { FreshetError } from '../../schemas/errors.ts'

/** Layout of the data directory. Each folder belongs to the part of the program that is opened with it. */
export interface DataDirectory {
  readonly path: string
  /** LMDB environment: log, queue, store, bookkeeping. */
  readonly logDirectory: string
  /** Original images by digest. */
  readonly blobDirectory: string
  /** Segments and checkpoints of the shards. */
  readonly shardDirectory: string
  /** Gives the directory free for another process. Closes nothing else. */
  close(): Promise<void>
}

/** Brings a data directory from `from` to the next format version. Run again after a crash: it must allow that. */
export interface Migration {
  readonly from: number
  migrate(path: string): Promise<void>
}

export interface DataFormat {
  readonly version: number
  readonly migrations: readonly Migration[]
}

/**
 * The format of all files in the directory. A change to any of them that another version of the program would trip
 * over is a new version, with a migration.
 */
export const dataFormat: DataFormat = { version: 1, migrations: [] }

export const formatFile = 'FORMAT'
/** What other programs of ours make, and may make first: `npm run stack`, the roles of the distributed form, `model add`. */
const neighbours = ['stack', 'roles', 'models']
const lockFile = 'LOCK'
const ownerFile = 'OWNER'
const sqliteBusy = 5

/**
 * Opens a data directory for this process alone, made when missing. The file `FORMAT` holds its format version as a
 * decimal number and a line feed; older formats are migrated step by step, each step recorded before the next.
 *
 * @throws FreshetError `data-locked` (details name the pid) while another process has it open; `data-format` when
 * it is of a newer or unknown format, or not a data directory
 */
export async function openDataDirectory(path: string, format: DataFormat = dataFormat): Promise<DataDirectory> {
  await mkdir(path, { recursive: true })
  const lock = await takeLock(path)
  try {
    await bringUpToFormat(path, format)
  } catch (error) {
    lock.close()
    throw error
  }
  return {
    path,
    logDirectory: join(path, 'log'),
    blobDirectory: join(path, 'blobs'),
    shardDirectory: join(path, 'shards'),
    close: async () => {
      if (lock.isOpen) lock.close()
    },
  }
}

/**
 * An exclusive lock on a file, held by the kernel for this process and gone with it, however it ends. Node offers no
 * file locks of its own, but its SQLite takes one for an exclusive transaction, which is left open on an empty
 * database. Unlike a pid file it cannot be stale, and unlike a socket it holds between containers.
 */
async function takeLock(path: string): Promise<DatabaseSync> {
  const lock = new DatabaseSync(join(path, lockFile), { timeout: 0 })
  try {
    lock.exec('PRAGMA journal_mode = MEMORY; PRAGMA locking_mode = EXCLUSIVE; BEGIN EXCLUSIVE')
  } catch (cause) {
    lock.close()
    if (!(cause instanceof Error && 'errcode' in cause && cause.errcode === sqliteBusy)) throw cause
    const pid = await readFile(join(path, ownerFile), 'utf8').catch(() => 'unknown')
    throw new FreshetError('data-locked', `the data directory ${path} is in use by process ${pid.trim()}`, {
      cause,
      details: { path, pid: Number(pid) || null },
    })
  }
  await writeFile(join(path, ownerFile), `${process.pid}\n`)
  return lock
}

async function bringUpToFormat(path: string, format: DataFormat): Promise<void> {
  let version = await readVersion(path)
  if (version === null) {
    await requireNew(path)
    await writeVersion(path, format.version)
    return
  }
  if (version > format.version) throw formatError(path, version, `start a Freshet that reads format ${version}`)
  while (version < format.version) {
    const from: number = version
    const step = format.migrations.find(migration => migration.from === from)
    if (step === undefined)
      throw formatError(path, version, `start an older Freshet that migrates format ${version}, then this one again`)
    await step.migrate(path)
    version++
    await writeVersion(path, version)
  }
}

/** The format version; null when there is no `FORMAT` file. */
async function readVersion(path: string): Promise<number | null> {
  const text = await readFile(join(path, formatFile), 'utf8').catch(error => {
    if (error.code === 'ENOENT') return null
    throw error
  })
  if (text === null) return null
  if (!/^[1-9][0-9]*\n$/.test(text)) throw formatError(path, text, 'restore the directory from a backup')
  return Number(text)
}

async function requireNew(path: string): Promise<void> {
  const own = new Set([lockFile, `${lockFile}-journal`, ownerFile, `${formatFile}.new`, ...neighbours])
  const foreign = (await readdir(path)).filter(name => !own.has(name))
  if (foreign.length > 0)
    throw formatError(path, null, `choose an empty directory; ${foreign[0]} lies here but no ${formatFile} file`)
}

function formatError(path: string, found: unknown, step: string): FreshetError {
  const message =
    found === null ? `${path} is not a data directory` : `the data directory ${path} has format ${String(found).trim()}`
  return new FreshetError('data-format', `${message}: ${step}`, { details: { path, found, step } })
}

/** Replaced whole and synced, so that a crash leaves the old version or the new one. */
async function writeVersion(path: string, version: number): Promise<void> {
  const next = join(path, `${formatFile}.new`)
  await writeFile(next, `${version}\n`, { flush: true })
  await rename(next, join(path, formatFile))
  const directory = await open(path, 'r')
  try {
    await directory.sync()
  } finally {
    await directory.close()
  }
}
