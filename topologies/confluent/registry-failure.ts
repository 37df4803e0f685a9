import { FreshetError } from '../../schemas/errors.ts'

/** What a registry answered instead of success, as the client reports it. */
export interface RegistryRefusal extends Error {
  /** HTTP status. */
  readonly status: number
  /** Code of the registry's protocol, such as 40403; -1 when the body was not one of a registry. */
  readonly errorCode: number
}

/** Told apart by shape: the class is in the package, which is loaded late. An error of the transport has no such code. */
export function isRefusal(thrown: unknown): thrown is RegistryRefusal {
  return thrown instanceof Error && 'errorCode' in thrown && 'status' in thrown
}

/** A 404 in the words of the registry, as against one of a web server that is no registry. */
export function isUnknownToRegistry(thrown: unknown): boolean {
  return isRefusal(thrown) && thrown.status === 404 && thrown.errorCode !== -1
}

/**
 * The failure of a call that got no answer to its question: `access-denied` (final) when one side does not trust the
 * other, `registry-unavailable` (retryable) for silence and for faults of the server. null for an answer.
 */
export function accessFailure(thrown: unknown, url: string): FreshetError | null {
  if (!isRefusal(thrown)) return transportFailure(thrown, url)
  const { status, message } = thrown
  if (status === 401 || status === 403)
    return new FreshetError('access-denied', `the schema registry at ${url} refused our credentials (${status})`, {
      cause: thrown,
    })
  const isAnswer = status < 500 && status !== 408 && status !== 429 && (status !== 404 || isUnknownToRegistry(thrown))
  return isAnswer ? null : unavailable(url, `${status}: ${message}`, thrown)
}

function transportFailure(thrown: unknown, url: string): FreshetError {
  const code = codeOf(thrown)
  const message = thrown instanceof Error && thrown.message !== '' ? thrown.message : code
  if (/CERT|^ERR_TLS|^ERR_SSL/.test(code) || code === 'UNABLE_TO_VERIFY_LEAF_SIGNATURE')
    return new FreshetError('access-denied', `no trust between us and the schema registry at ${url}: ${message}`, {
      cause: thrown,
    })
  return unavailable(url, message, thrown)
}

function unavailable(url: string, reason: string, cause: unknown): FreshetError {
  return new FreshetError('registry-unavailable', `the schema registry at ${url} did not answer: ${reason}`, { cause })
}

function codeOf(thrown: unknown): string {
  return thrown instanceof Error && 'code' in thrown ? String(thrown.code) : ''
}
