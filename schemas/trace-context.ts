import {
  type Context,
  createTraceState,
  isSpanContextValid,
  ROOT_CONTEXT,
  type Span,
  type SpanContext,
  TraceFlags,
  trace,
} from '@opentelemetry/api'

/**
 * W3C trace context as headers of requests and records, and as fields of jobs, carry it. It goes on from hop to hop
 * also where this process makes no spans itself.
 */
export interface TraceHeaders {
  readonly traceparent?: string
  readonly tracestate?: string
}

export const noTrace: TraceHeaders = {}

/** Versions after 00 may have more at the end. */
const traceparentForm = /^(?!ff)([0-9a-f]{2})-([0-9a-f]{32})-([0-9a-f]{16})-([0-9a-f]{2})(-.*)?$/
const maxTraceparentLength = 256
const maxTracestateLength = 512

/** Whether spans are to be made of what follows: the publisher or caller is traced, and sampled. Cheap, for hot paths. */
export function isSampled({ traceparent }: TraceHeaders): boolean {
  return traceparent !== undefined && traceparent.length >= 55 && (Number.parseInt(traceparent[54]!, 16) & 1) === 1
}

/** The context to begin spans in; without a valid `traceparent` that of a new trace. */
export function contextOf(headers: HeadersGiven): Context {
  const parent = spanContextOf(headers)
  return parent === null ? ROOT_CONTEXT : trace.setSpanContext(ROOT_CONTEXT, parent)
}

/** Headers as they come: anything may stand in them. */
export interface HeadersGiven {
  readonly traceparent?: unknown
  readonly tracestate?: unknown
}

/** Null when there is none that is valid. */
export function spanContextOf({ traceparent, tracestate }: HeadersGiven): SpanContext | null {
  if (typeof traceparent !== 'string' || traceparent.length > maxTraceparentLength) return null
  const match = traceparentForm.exec(traceparent)
  if (match === null) return null
  const [, version, traceId, spanId, flags, more] = match as unknown as [string, string, string, string, string, string]
  if (version === '00' && more !== undefined) return null
  const context: SpanContext = {
    traceId,
    spanId,
    traceFlags: Number.parseInt(flags, 16) & TraceFlags.SAMPLED,
    isRemote: true,
    ...(isTracestate(tracestate) ? { traceState: createTraceState(tracestate) } : {}),
  }
  return isSpanContextValid(context) ? context : null
}

/** What the next hop is told; nothing when the span is of no trace. */
export function traceHeadersOf(span: Span | undefined): TraceHeaders {
  const context = span?.spanContext()
  if (context === undefined || !isSpanContextValid(context)) return noTrace
  const { traceId, spanId, traceFlags, traceState } = context
  const traceparent = `00-${traceId}-${spanId}-${(traceFlags & 0xff).toString(16).padStart(2, '0')}`
  const tracestate = traceState?.serialize() ?? ''
  return tracestate === '' ? { traceparent } : { traceparent, tracestate }
}

/** The trace that headers of others name, to be handed on; `noTrace` itself when there is none that is valid. */
export function traceOf({ traceparent, tracestate }: TraceHeaders): TraceHeaders {
  if (traceparent === undefined || traceparent.length > maxTraceparentLength) return noTrace
  if (!traceparentForm.test(traceparent)) return noTrace
  return isTracestate(tracestate) ? { traceparent, tracestate } : { traceparent }
}

/** What others wrote may be of any length, and is copied into whatever comes of it. */
function isTracestate(text: unknown): text is string {
  return typeof text === 'string' && text !== '' && text.length <= maxTracestateLength
}
