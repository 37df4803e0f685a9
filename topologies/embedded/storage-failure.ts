import { FreshetError } from '../../schemas/errors.ts'

/** Codes that mean "no room": ENOSPC, EDQUOT, EFBIG, and LMDB's map full, as numbers of the C library. */
const noRoomCodes: ReadonlySet<unknown> = new Set([28, 122, 27, -30792])
/** EIO: a write cut short by a full disk looks like this, so does a broken disk. */
const ioErrorCode = 5

/**
 * Why a commit failed. lmdb rejects with an error whose `commitError` is a promise rejecting with the cause; it has
 * to be consumed, or the process ends by an unhandled rejection.
 * @param isDiskFull asked when the code alone cannot tell a full disk from a broken one
 */
export async function commitFailure(thrown: unknown, isDiskFull: () => Promise<boolean>): Promise<FreshetError> {
  const cause = await causeOf(thrown)
  const code = cause instanceof Error && 'code' in cause ? cause.code : undefined
  const isFull = noRoomCodes.has(code) || (code === ioErrorCode && (await isDiskFull()))
  return isFull
    ? new FreshetError('storage-full', 'the disk is full; nothing of this write is stored', { cause })
    : new FreshetError('storage-failed', `the storage refused a write: ${messageOf(cause)}`, { cause })
}

async function causeOf(thrown: unknown): Promise<unknown> {
  if (!(thrown instanceof Error && 'commitError' in thrown)) return thrown
  try {
    await thrown.commitError
    return thrown
  } catch (cause) {
    return cause
  }
}

function messageOf(cause: unknown): string {
  return cause instanceof Error ? cause.message : String(cause)
}
