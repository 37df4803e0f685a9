import { type ErrorCode, FreshetError } from '../../schemas/errors.ts'

/** What kafkajs throws; its classes differ in these fields, and one wraps the other as `cause`. */
interface KafkaThrown {
  readonly name?: string
  /** Kafka's error name, such as `NOT_LEADER_FOR_PARTITION`. */
  readonly type?: string
  /** Of Node, such as `ECONNREFUSED`. */
  readonly code?: unknown
  readonly cause?: unknown
  readonly errors?: readonly unknown[]
}

const refusals = new Set([
  'TOPIC_AUTHORIZATION_FAILED',
  'GROUP_AUTHORIZATION_FAILED',
  'CLUSTER_AUTHORIZATION_FAILED',
  'SASL_AUTHENTICATION_FAILED',
  'UNSUPPORTED_SASL_MECHANISM',
])
const codes: Readonly<Record<string, ErrorCode>> = {
  UNKNOWN_TOPIC_OR_PARTITION: 'topic-missing',
  MESSAGE_TOO_LARGE: 'record-too-large',
  RECORD_LIST_TOO_LARGE: 'record-too-large',
  OFFSET_OUT_OF_RANGE: 'offset-out-of-range',
}
/** Names of errors that Node gives to a certificate that does not fit, on either side. */
const certificateErrors = /^(CERT_|ERR_TLS_|ERR_SSL_|UNABLE_TO_|SELF_SIGNED_|DEPTH_ZERO_|HOSTNAME_MISMATCH)/

/**
 * As the port tells it. What is neither a refusal nor one of the port's own cases is `log-unavailable`: during an
 * outage kafkajs throws nearly anything, even a TypeError.
 */
export function asLogFailure(thrown: unknown, doing: string): FreshetError {
  if (thrown instanceof FreshetError) return thrown
  const code =
    causesOf(thrown)
      .map(codeOf)
      .find(found => found !== null) ?? 'log-unavailable'
  const message = thrown instanceof Error ? thrown.message : String(thrown)
  return new FreshetError(code, `${doing}: ${message}`, { cause: thrown })
}

/** Kafka's name of the error, if a broker answered with one. */
export function brokerErrorOf(thrown: unknown): string | null {
  return causesOf(thrown).find(({ type }) => type !== undefined)?.type ?? null
}

function codeOf({ name, type, code }: KafkaThrown): ErrorCode | null {
  if (name === 'KafkaJSSASLAuthenticationError' || (type !== undefined && refusals.has(type))) return 'access-denied'
  if (typeof code === 'string' && certificateErrors.test(code)) return 'access-denied'
  return type === undefined ? null : (codes[type] ?? null)
}

/** The error and those it wraps, outermost first. */
function causesOf(thrown: unknown): readonly KafkaThrown[] {
  if (typeof thrown !== 'object' || thrown === null) return []
  const { cause, errors = [] } = thrown as KafkaThrown
  return [thrown, ...[cause, ...errors].flatMap(causesOf)]
}
