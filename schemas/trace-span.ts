import { type Attributes, context, type Span, SpanKind, SpanStatusCode, trace } from '@opentelemetry/api'
import { asFreshetError } from './errors.ts'

/** Makes spans where the process was started with tracing; otherwise what it makes costs next to nothing. */
export const tracer = trace.getTracer('freshet')

/** Notes on a span what failed, by its code. */
export function failSpan(span: Span, thrown: unknown): void {
  const { code, message } = asFreshetError(thrown)
  span.setAttribute('error.type', code)
  span.recordException({ name: code, message })
  span.setStatus({ code: SpanStatusCode.ERROR, message })
}

export interface ChildSpanOptions {
  readonly kind?: SpanKind
  readonly attributes?: Attributes
  /** Once it has fired nobody wants the answer any more: what the work throws then is no failure. */
  readonly signal?: AbortSignal | undefined
}

/**
 * Does the work under a span of its own, as a part of what is going on here; under none where that is not traced.
 * @throws what the work throws
 */
export function inChildSpan<T>(
  name: string,
  { kind = SpanKind.INTERNAL, attributes = {}, signal }: ChildSpanOptions,
  work: (span: Span | undefined) => Promise<T>,
): Promise<T> {
  if (trace.getActiveSpan()?.isRecording() !== true) return work(undefined)
  return inSpan(tracer.startSpan(name, { kind, attributes }), work, signal)
}

/** Does the work in the span's context and ends the span with it. @throws what the work throws */
async function inSpan<T>(span: Span, work: (span: Span) => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  try {
    return await context.with(trace.setSpan(context.active(), span), work, undefined, span)
  } catch (thrown) {
    if (signal?.aborted === true) span.setAttribute('freshet.given_up', true)
    else failSpan(span, thrown)
    throw thrown
  } finally {
    span.end()
  }
}

/** A part of what is going on here, measured elsewhere: by another process of this machine, or before it was known. */
export interface PastWork {
  readonly name: string
  /** Ms since 1970. */
  readonly beganAtMs: number
  readonly tookMs: number
}

/** Spans of what is over; none where what is going on here is not traced. */
export function notePastWork(parts: readonly PastWork[]): void {
  if (trace.getActiveSpan()?.isRecording() !== true) return
  for (const { name, beganAtMs, tookMs } of parts)
    tracer.startSpan(name, { startTime: new Date(beganAtMs) }).end(new Date(beganAtMs + tookMs))
}
