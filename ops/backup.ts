import { constants, existsSync } from 'node:fs'
import { copyFile, cp, mkdir, readdir, stat } from 'node:fs/promises'
import { basename, join } from 'node:path'
import { FreshetError } from '../schemas/errors.ts'
import type { ShardNode } from '../shard-node/shard-node.ts'
import { formatFile } from '../topologies/embedded/data-directory.ts'
import { logDirectory, type Storage } from './storage.ts'

export interface BackupSource {
  readonly dataDir: string
  readonly storage: Pick<Storage, 'copyTo'>
  readonly shards: readonly { readonly node: Pick<ShardNode, 'exportTo'>; readonly directory: string }[]
}

/**
 * Copies a data directory while it is served; the copy is a data directory itself. The order matters: checkpoints
 * first, because one that is ahead of its log is refused; images after the log, so that every image an event names is
 * there; `FORMAT` last, because a directory without it is not opened.
 * @throws FreshetError `bad-request` when the directory is not empty; `storage-full` | `storage-failed`
 */
export async function backUp(source: BackupSource, directory: string): Promise<{ readonly bytes: number }> {
  await makeEmpty(directory)
  try {
    for (const { node, directory: from } of source.shards)
      await node.exportTo(join(directory, 'shards', basename(from)))
    await source.storage.copyTo(logDirectory(directory))
    await copyTree(join(source.dataDir, 'blobs'), join(directory, 'blobs'))
    for (const name of ['models', 'evidence']) {
      const from = join(source.dataDir, name)
      if (existsSync(from)) await copyTree(from, join(directory, name))
    }
    await copyFile(join(source.dataDir, formatFile), join(directory, formatFile))
  } catch (thrown) {
    throw copyFailure(thrown, directory)
  }
  return { bytes: await bytesIn(directory) }
}

/** @throws FreshetError `bad-request` when something lies there */
export async function makeEmpty(directory: string): Promise<void> {
  await mkdir(directory, { recursive: true })
  if ((await readdir(directory)).length > 0)
    throw new FreshetError('bad-request', `${directory} is not empty; choose a new directory`)
}

/** Shares the blocks where the file system can. */
async function copyTree(from: string, to: string): Promise<void> {
  await cp(from, to, {
    recursive: true,
    mode: constants.COPYFILE_FICLONE,
    // What is being written right now belongs to no event and no model yet.
    filter: path => !['tmp', 'partial'].includes(basename(path)),
  })
}

export async function bytesIn(directory: string): Promise<number> {
  let bytes = 0
  for (const entry of await readdir(directory, { recursive: true, withFileTypes: true }))
    if (entry.isFile()) bytes += (await stat(join(entry.parentPath, entry.name))).size
  return bytes
}

export function copyFailure(thrown: unknown, directory: string): unknown {
  if (thrown instanceof FreshetError) return thrown
  const code = thrown instanceof Error && 'code' in thrown ? thrown.code : undefined
  const isFull = code === 'ENOSPC' || code === 'EDQUOT'
  const what = `the copy in ${directory} is not complete; remove it and try again`
  return new FreshetError(isFull ? 'storage-full' : 'storage-failed', what, { cause: thrown })
}
