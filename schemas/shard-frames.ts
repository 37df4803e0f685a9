import type { ReplicaId } from './ids.ts'
import { shardPrefix } from './shard-wire.ts'
import { noTrace, type TraceHeaders, traceOf } from './trace-context.ts'

/**
 * Searches as gateways and shard processes exchange them: text messages on one WebSocket for all replicas of a process.
 * The first line of a message says what it is; after it comes the body, as `searchRequestWire` and `searchResultWire`
 * have it, or that of an error:
 *
 *     ask <call> <replica> <ms it has> [<traceparent> [<tracestate>]]    from the gateway
 *     cancel <call>                                                      from the gateway: nobody wants the answer
 *     <call> <status, as over HTTP> <replica tag, or ->                  from the shard
 *
 * A gateway numbers its calls on a connection upwards. Calls are answered once, in any order; cancelled ones need not
 * be.
 */

/** Where the connection is opened. */
export const searchesPath = `${shardPrefix}/searches`

/** Beside the body. */
export const maxFrameHeadBytes = 4_096

/** Instead of a replica's tag where none has answered. */
export const nobodysTag = '-'

export interface Ask {
  readonly call: number
  readonly replica: ReplicaId
  /** The shard gives up after so long. */
  readonly timeoutMs: number
  /** What it is a part of; `noTrace` itself when it is not traced. */
  readonly trace: TraceHeaders
  readonly body: string
}

export interface AnswerHead {
  readonly call: number
  readonly status: number
  /** See `replicaTag`. */
  readonly tag: string
  /** Where the body begins, in bytes. */
  readonly bodyAt: number
}

/** Replicas are written as in URLs: without blanks. */
const askForm = /^ask (0|[1-9]\d{0,14}) (\S+) ([1-9]\d{0,8})(?: (\S+)(?: (.+))?)?$/
const cancelForm = /^cancel (0|[1-9]\d{0,14})$/
const answerForm = /^(0|[1-9]\d{0,14}) ([2-5]\d\d) (\S+)$/
const lineFeed = 10

export function askFrame({ call, replica, timeoutMs, trace, body }: Ask): string {
  const line = `ask ${call} ${encodeURIComponent(replica)} ${timeoutMs}`
  return trace === noTrace ? `${line}\n${body}` : `${line}${traceText(trace)}\n${body}`
}

export function cancelFrame(call: number): string {
  return `cancel ${call}\n`
}

export function answerFrame({ call, status, tag }: Omit<AnswerHead, 'bodyAt'>, body: string): string {
  return `${call} ${status} ${tag}\n${body}`
}

/** Null for what is none. */
export function readGatewayFrame(bytes: Buffer): Ask | { readonly cancelled: number } | null {
  const end = endOfHead(bytes)
  const head = bytes.toString('latin1', 0, end)
  const match = askForm.exec(head)
  if (match === null) {
    const cancel = cancelForm.exec(head)
    return cancel && { cancelled: Number(cancel[1]) }
  }
  const replica = decoded(match[2]!)
  if (replica === null) return null
  const [traceparent, tracestate] = [match[4], match[5]]
  const trace = traceparent === undefined ? noTrace : traceOf({ traceparent, ...(tracestate && { tracestate }) })
  const timeoutMs = Number(match[3])
  return {
    call: Number(match[1]),
    replica: replica as ReplicaId,
    timeoutMs,
    trace,
    body: bytes.toString('utf8', end + 1),
  }
}

/** Null for what is none. */
export function readAnswerHead(bytes: Buffer): AnswerHead | null {
  const end = endOfHead(bytes)
  const match = answerForm.exec(bytes.toString('latin1', 0, end))
  return match && { call: Number(match[1]), status: Number(match[2]), tag: match[3]!, bodyAt: end + 1 }
}

/** 0, where there is no head that ends in time: an empty one is none either. */
function endOfHead(bytes: Buffer): number {
  const end = bytes.indexOf(lineFeed)
  return end === -1 || end > maxFrameHeadBytes ? 0 : end
}

/** What is not valid, or too long for a head, is left out. */
function traceText(trace: TraceHeaders): string {
  const { traceparent, tracestate } = traceOf(trace)
  if (traceparent === undefined) return ''
  return tracestate === undefined ? ` ${traceparent}` : ` ${traceparent} ${tracestate}`
}

function decoded(text: string): string | null {
  try {
    return decodeURIComponent(text)
  } catch {
    return null
  }
}
