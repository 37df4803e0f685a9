import { FreshetError } from '../../schemas/errors.ts'
import type { SavedFile } from '../segments/segment.ts'

/** Errno of a refused call of the operating system, or null for any other thrown value. */
export function errnoOf(thrown: unknown): string | null {
  if (thrown instanceof FreshetError || !(thrown instanceof Error) || !('code' in thrown)) return null
  return typeof thrown.code === 'string' ? thrown.code : null
}

/** What the operating system refused as `storage-full` or `storage-failed`; anything else as it is. */
export function asStorageError(thrown: unknown, file: string): unknown {
  const errno = errnoOf(thrown)
  if (errno === null) return thrown
  const isFull = errno === 'ENOSPC' || errno === 'EDQUOT'
  return new FreshetError(isFull ? 'storage-full' : 'storage-failed', `${file}: ${errno}`, { cause: thrown })
}

export function damaged(saved: SavedFile): FreshetError {
  return new FreshetError('checkpoint-corrupt', `${saved.file} does not match its length and checksum`)
}
