import { FreshetError } from '../schemas/errors.ts'

/**
 * The promise, or `timeout` once the signal aborts, whichever is first; for callees that may ignore the signal.
 * @throws FreshetError `timeout`
 */
export async function untilAborted<T>(promise: Promise<T>, signal: AbortSignal): Promise<T> {
  let abort = (): void => undefined
  const aborted = new Promise<never>((_, reject) => {
    abort = () => reject(new FreshetError('timeout', 'the time limit passed', { cause: signal.reason }))
    if (signal.aborted) abort()
    else signal.addEventListener('abort', abort, { once: true })
  })
  try {
    return await Promise.race([promise, aborted])
  } finally {
    signal.removeEventListener('abort', abort)
  }
}
