import { constants } from 'node:fs'
import { copyFile, mkdir, open, readdir, stat } from 'node:fs/promises'
import { dirname, join, relative, resolve } from 'node:path'
import { FreshetError } from '../schemas/errors.ts'
import { openDataDirectory } from '../topologies/embedded/data-directory.ts'

export interface RestoreOptions {
  /** Made by `freshet backup`. */
  readonly backup: string
  /** Empty, or not there. */
  readonly dataDir: string
  readonly onProgress?: (doneBytes: number, totalBytes: number) => void
}

/** Says that a directory is a data directory, and of which format. */
const formatFile = 'FORMAT'
/** Of the process that has the directory open; a copy must not claim it. */
const ownFiles: ReadonlySet<string> = new Set(['LOCK', 'LOCK-journal', 'OWNER'])

/**
 * Copies a backup into an empty data directory and verifies its format. The format file comes last, so that a copy
 * which was cut short is refused by every server.
 * @throws FreshetError `bad-request` when the backup is none or the target is not empty; `data-format`
 */
export async function restoreBackup({ backup, dataDir, onProgress = () => {} }: RestoreOptions): Promise<number> {
  const files = await filesOf(backup)
  if (!files.some(({ path }) => path === formatFile))
    throw new FreshetError('bad-request', `${backup} is no backup: it has no ${formatFile} file`)
  await requireEmpty(dataDir, backup)
  const totalBytes = files.reduce((sum, { bytes }) => sum + bytes, 0)
  const last = files.findIndex(({ path }) => path === formatFile)
  let doneBytes = 0
  for (const { path, bytes } of [...files.toSpliced(last, 1), files[last]!]) {
    await copyDurably(join(backup, path), join(dataDir, path))
    doneBytes += bytes
    onProgress(doneBytes, totalBytes)
  }
  const opened = await openDataDirectory(dataDir)
  await opened.close()
  return totalBytes
}

interface BackupFile {
  /** Relative to the backup. */
  readonly path: string
  readonly bytes: number
}

async function filesOf(directory: string): Promise<readonly BackupFile[]> {
  const entries = await readdir(directory, { recursive: true, withFileTypes: true }).catch(cause => {
    throw new FreshetError('bad-request', `the backup ${directory} cannot be read`, { cause })
  })
  const paths = entries
    .filter(entry => entry.isFile() && !ownFiles.has(entry.name))
    .map(entry => relative(directory, join(entry.parentPath, entry.name)))
  return Promise.all(paths.map(async path => ({ path, bytes: (await stat(join(directory, path))).size })))
}

async function requireEmpty(dataDir: string, backup: string): Promise<void> {
  if (resolve(dataDir).startsWith(`${resolve(backup)}/`) || resolve(dataDir) === resolve(backup))
    throw new FreshetError('bad-request', 'the data directory lies inside the backup')
  await mkdir(dataDir, { recursive: true })
  const [first] = await readdir(dataDir)
  if (first !== undefined)
    throw new FreshetError('bad-request', `${dataDir} is not empty (${first} lies there); restore into an empty one`)
}

async function copyDurably(from: string, to: string): Promise<void> {
  await mkdir(dirname(to), { recursive: true })
  await copyFile(from, to, constants.COPYFILE_FICLONE | constants.COPYFILE_EXCL)
  const file = await open(to, 'r+')
  try {
    await file.sync()
  } finally {
    await file.close()
  }
}
