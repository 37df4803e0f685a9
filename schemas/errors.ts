/**
 * Error codes. A code is the whole vocabulary of failure that crosses a folder, a process or the wire.
 * `retryable` tells the caller whether the same call can succeed later; `operator` is the operator's page in one sentence.
 */
export interface ErrorDescription {
  readonly retryable: boolean
  /** HTTP status the gateway answers with. */
  readonly httpStatus: number
  /** What it means and what to do, in one sentence. */
  readonly operator: string
}

const described = (retryable: boolean, httpStatus: number, operator: string): ErrorDescription => ({
  retryable,
  httpStatus,
  operator,
})

export const errorCodes = {
  // requests
  'bad-request': described(false, 400, 'The request does not have the documented shape; details name the field.'),
  'bad-item-id': described(
    false,
    400,
    'An item id is 1 to 512 bytes of UTF-8 without control characters; mend the id in the publishing service.',
  ),
  'bad-receipt': described(
    false,
    400,
    'The receipt was not issued by this installation; use the string as it was returned.',
  ),
  'body-too-large': described(false, 413, 'The body is over the configured limit; send less or raise the limit.'),
  'not-found': described(false, 404, 'There is no such route or record.'),
  'item-not-found': described(false, 404, 'The item is unknown or deleted.'),
  'blob-not-found': described(false, 404, 'No blob with this digest is stored; upload it with PUT /v1/blobs first.'),
  'object-not-found': described(false, 404, 'The picture has no object with this index; call /v1/detect for the list.'),
  'method-not-allowed': described(false, 405, 'The route exists, but not with this method.'),
  'unsupported-media-type': described(
    false,
    415,
    'The route does not take this content type; the message names those it takes.',
  ),
  'origin-refused': described(
    false,
    403,
    'A page of another site, or a host name that is not allowed, called the server; add the name to the allowed hosts.',
  ),
  unauthenticated: described(
    false,
    401,
    'The call carries no API key, or one that is not in force; make one with `freshet key new`.',
  ),
  forbidden: described(false, 403, 'The API key has a lesser role than this call needs; details name both.'),
  'rate-limited': described(
    true,
    429,
    'The requests a minute of this API key, or of this address, are used up; retry after the time in Retry-After.',
  ),
  'request-timeout': described(false, 408, 'The request did not arrive in time; look at the line of the caller.'),
  'client-gone': described(
    false,
    408,
    'The caller closed the connection before the answer was whole: the work for it was ended, and nobody was told.',
  ),
  timeout: described(
    true,
    504,
    'The work did not finish within its time limit; retry, or look for an overloaded machine.',
  ),
  overloaded: described(true, 503, 'Too much work is waiting; retry after the time in Retry-After.'),
  'not-ready': described(true, 503, 'The role is starting, catching up or draining; retry soon.'),
  internal: described(true, 500, 'A defect: the log holds the cause under the same query or request id.'),
  // images
  'image-missing': described(false, 400, 'An item needs at least one image reference.'),
  'image-empty': described(false, 422, 'The image file is empty; publish an intact file.'),
  'image-format': described(false, 422, 'The bytes are not a JPEG, PNG, WebP, AVIF, GIF or TIFF picture.'),
  'image-corrupt': described(false, 422, 'The picture is truncated or damaged; publish an intact file.'),
  'image-too-large': described(false, 413, 'The image file is over the byte limit; shrink it or raise the limit.'),
  'image-too-many-pixels': described(
    false,
    422,
    'The picture has more pixels than the limit allows; shrink it before publishing.',
  ),
  'image-scheme': described(false, 422, 'Image references are http(s):, blob: or file: under a configured root.'),
  'image-not-allowed': described(
    false,
    422,
    'The file is outside the configured image roots, or the address is not allowed.',
  ),
  'image-private-address': described(
    false,
    422,
    'The image host resolves to an address that is not public; allow it by configuration if that is intended.',
  ),
  'image-not-found': described(false, 422, 'The image host or file system says there is no such image (404, 410).'),
  'image-refused': described(false, 422, 'The image host refused the request (4xx).'),
  'image-host-busy': described(true, 422, 'The image host answers 429 or 5xx; it is asked again with growing pauses.'),
  'image-host-unreachable': described(
    true,
    422,
    'The image host could not be reached; it is asked again with growing pauses.',
  ),
  'image-timeout': described(true, 422, 'The image host did not deliver within the time limit; it is asked again.'),
  'image-too-many-redirects': described(false, 422, 'The image URL redirects too often.'),
  'decoder-crashed': described(
    true,
    422,
    'The decoder or model process died on this picture; retried alone, then given up.',
  ),
  'decoder-timeout': described(
    true,
    422,
    'The decoder or model did not finish in time on this picture; retried alone, then given up.',
  ),
  // models and vectors
  'model-unavailable': described(
    true,
    503,
    'A model could not be fetched from its address. What was fetched is kept; run the command again to go on.',
  ),
  'model-invalid': described(
    false,
    500,
    'A model file, digest or golden vector does not fit its manifest; do not serve with it.',
  ),
  'fingerprint-mismatch': described(
    false,
    422,
    'The vector was made by another model or preprocessing than this generation; embed again with its model.',
  ),
  'vector-dimension': described(false, 422, 'The vector does not have the dimension of the generation.'),
  'vector-not-finite': described(false, 422, 'The vector holds a number that is not finite.'),
  'vector-not-unit': described(false, 422, 'The vector is not of unit length; normalise it before sending.'),
  'mutation-invalid': described(false, 422, 'A mutation breaks the limits on objects, boxes or sizes.'),
  // log, queue, store
  'record-undecodable': described(
    false,
    422,
    'The bytes on the topic are not a record of a known schema; the record is in the dead letters.',
  ),
  'schema-unknown': described(
    false,
    422,
    'The record names a schema id that the registry does not hold; register schemas before publishing.',
  ),
  'schema-incompatible': described(
    false,
    409,
    'The schema breaks FULL_TRANSITIVE compatibility; add optional fields with defaults instead.',
  ),
  misrouted: described(
    false,
    422,
    'The record lies in the wrong partition; set partitioner=murmur2_random in the producer.',
  ),
  'topic-missing': described(false, 500, 'The topic does not exist; create it with the topics command.'),
  'topic-mismatch': described(false, 500, 'The topic exists with other settings than required; details tell which.'),
  'topic-epoch': described(
    false,
    500,
    'The topic was re-created or holds no epoch marker; a new epoch needs a new generation.',
  ),
  'offset-out-of-range': described(
    false,
    500,
    'The position lies below the start of the log; rebuild from the beginning.',
  ),
  'record-too-large': described(false, 413, 'The record is over the limit of the log.'),
  'log-unavailable': described(
    true,
    503,
    'No broker of the log answers or takes the write now; it is tried again. Look at the brokers.',
  ),
  'queue-unavailable': described(true, 503, 'The work queue does not answer now; it is tried again. Look at Redis.'),
  'feature-store-unavailable': described(true, 503, 'The feature store does not answer now. Look at Redis.'),
  'registry-unavailable': described(true, 503, 'The schema registry does not answer now; it is tried again.'),
  'cut-ended': described(
    false,
    409,
    'The cut through a shard is no longer open: it was ended, or kept for longer than a cut is. Take another.',
  ),
  'replica-unavailable': described(
    true,
    503,
    'A shard replica did not answer; others of its shard are asked. Look at that process and its address.',
  ),
  'access-denied': described(
    false,
    500,
    'A server refused our credentials or rights; mend user, password, certificates or the access rules.',
  ),
  'storage-full': described(true, 507, 'The disk is full; reads go on, writes are refused until there is space.'),
  'blob-store-full': described(
    true,
    507,
    'The blob store is at its bound and everything in it is referenced; raise the bound.',
  ),
  'storage-failed': described(true, 500, 'The storage refused an operation; the cause is in the log.'),
  'data-locked': described(
    false,
    500,
    'Another process uses this data directory; stop it, or choose another directory.',
  ),
  'data-format': described(
    false,
    500,
    'The data directory has a format this version does not read; details name the step to take.',
  ),
  'checkpoint-corrupt': described(
    false,
    500,
    'A checkpoint failed its checksum; it is set aside and the shard is rebuilt from the log.',
  ),
  'checkpoint-too-old': described(
    false,
    500,
    'The checkpoint is older than the tombstone retention or the log; the shard is rebuilt.',
  ),
  'control-conflict': described(
    false,
    409,
    'Another control record was accepted first; read the state again and decide anew.',
  ),
  'step-refused': described(
    false,
    409,
    'The generation is not where this step can be taken; the message says what is missing.',
  ),
  'work-abandoned': described(
    false,
    422,
    'The job failed on every allowed attempt; it is in the dead letters for redrive.',
  ),
  'dead-letter-not-found': described(false, 404, 'There is no dead letter with this id.'),
  'address-in-use': described(
    false,
    500,
    'Another process listens on this address; stop it, or choose another port with --port.',
  ),
  'config-invalid': described(
    false,
    500,
    'The configuration holds an unknown key or a value out of range; the message names it.',
  ),
} as const satisfies Record<string, ErrorDescription>

export type ErrorCode = keyof typeof errorCodes

export interface ErrorBody {
  readonly error: {
    readonly code: ErrorCode
    readonly message: string
    readonly retryable: boolean
    readonly details?: unknown
  }
}

/** The one error class that callers tell apart, by `code`. */
export class FreshetError extends Error {
  readonly code: ErrorCode
  readonly retryable: boolean
  readonly details: unknown

  constructor(
    code: ErrorCode,
    message: string,
    options: { readonly cause?: unknown; readonly details?: unknown } = {},
  ) {
    super(message, options.cause === undefined ? undefined : { cause: options.cause })
    this.name = 'FreshetError'
    this.code = code
    this.retryable = errorCodes[code].retryable
    this.details = options.details
  }

  get httpStatus(): number {
    return errorCodes[this.code].httpStatus
  }

  toBody(): ErrorBody {
    const { code, message, retryable, details } = this
    return { error: details === undefined ? { code, message, retryable } : { code, message, retryable, details } }
  }
}

export function isErrorCode(value: unknown): value is ErrorCode {
  return typeof value === 'string' && Object.hasOwn(errorCodes, value)
}

/** Any thrown value as a `FreshetError`; what has no code is `internal`, with its cause kept. */
export function asFreshetError(thrown: unknown): FreshetError {
  if (thrown instanceof FreshetError) return thrown
  return new FreshetError('internal', thrown instanceof Error ? thrown.message : String(thrown), { cause: thrown })
}
