import { asFreshetError, FreshetError } from '../../schemas/errors.ts'

/** What callers are told while Redis can not serve them; they try again. */
export type UnavailableCode = 'queue-unavailable' | 'feature-store-unavailable'

/** Why Redis refused or did not answer, as `details.reason`. */
type Reason = 'out-of-memory' | 'read-only' | 'loading' | 'persistence-failed' | 'busy' | 'unreachable' | 'closed'

/** First words of Redis' error replies. A reply that comes out of a script may have others before them. */
const refusals: readonly { readonly word: RegExp; readonly reason: Reason; readonly what: string }[] = [
  { word: /\bOOM\b/, reason: 'out-of-memory', what: 'Redis is out of memory and refuses what would need more' },
  { word: /\bREADONLY\b/, reason: 'read-only', what: 'Redis is a read-only replica here' },
  { word: /\b(LOADING|MASTERDOWN)\b/, reason: 'loading', what: 'Redis is loading its data' },
  {
    word: /\b(MISCONF|NOREPLICAS)\b/,
    reason: 'persistence-failed',
    what: 'Redis can not keep writes and refuses them',
  },
  { word: /\b(BUSY|TRYAGAIN|CLUSTERDOWN)\b|max number of clients/, reason: 'busy', what: 'Redis is busy' },
]
const denials = /\b(NOAUTH|WRONGPASS|NOPERM)\b|invalid password|AUTH <password> called without/
const certificateFailures = /^(ERR_TLS_|ERR_SSL_|ERR_OSSL_|CERT_|DEPTH_ZERO_|SELF_SIGNED_|UNABLE_TO_)/

/**
 * What went wrong with Redis in our codes: `access-denied` where credentials, rights or certificates were refused,
 * the given code where another try may succeed, `internal` for a reply that only a defect brings about.
 */
export function redisFailure(thrown: unknown, code: UnavailableCode): FreshetError {
  if (thrown instanceof FreshetError) return thrown
  if (!(thrown instanceof Error) || thrown instanceof TypeError || thrown instanceof RangeError)
    return asFreshetError(thrown)
  return thrown.name === 'ReplyError' ? refused(thrown, code) : unreachable(thrown, code)
}

export function closedFailure(code: UnavailableCode): FreshetError {
  return unavailable(code, 'closed', 'the connection to Redis was closed here')
}

/** The client's error names the command with its arguments, which may be a password or a payload: it is not passed on. */
function refused({ message }: Error, code: UnavailableCode): FreshetError {
  if (denials.test(message)) return new FreshetError('access-denied', `Redis refused access: ${message}`)
  const refusal = refusals.find(({ word }) => word.test(message))
  if (refusal === undefined) return new FreshetError('internal', `Redis refused a command: ${message}`)
  return unavailable(code, refusal.reason, `${refusal.what}: ${message}`)
}

function unreachable(error: NodeJS.ErrnoException, code: UnavailableCode): FreshetError {
  // Both addresses of a name that has two are tried; their errors come as one without a message.
  const what = error.message || error.code || error.name
  if (certificateFailures.test(error.code ?? ''))
    return new FreshetError('access-denied', `no secure connection to Redis: ${what}`)
  return unavailable(code, 'unreachable', `Redis does not answer: ${what}`)
}

function unavailable(code: UnavailableCode, reason: Reason, message: string): FreshetError {
  return new FreshetError(code, message, { details: { reason } })
}
