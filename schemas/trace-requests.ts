import {
  type Attributes,
  context,
  type Histogram,
  type Meter,
  type Span,
  SpanKind,
  SpanStatusCode,
  trace,
} from '@opentelemetry/api'
import type { FastifyInstance, FastifyReply, FastifyRequest } from 'fastify'
import { isErrorCode } from './errors.ts'
import { contextOf, type TraceHeaders, traceHeadersOf } from './trace-context.ts'
import { tracer } from './trace-span.ts'

/** OpenTelemetry's boundaries for durations of requests. */
const durationSeconds = [0.005, 0.01, 0.025, 0.05, 0.075, 0.1, 0.25, 0.5, 0.75, 1, 2.5, 5, 7.5, 10]

/** Asked again and again by machines, or open for hours: no trace of its own, unless the caller has one. */
const quietRoutes: ReadonlySet<string> = new Set(['/metrics', '/healthz', '/readyz', '/v1/events'])

const spans = new WeakMap<FastifyRequest, Span>()

/**
 * A server's requests as spans, parts of their callers' traces where those sent `traceparent`, and their durations.
 * What a handler does is a part of its request's span. Call it before routes and other hooks are added.
 */
export function traceRequests(app: Pick<FastifyInstance, 'addHook'>, meter: Meter): void {
  const duration = requestDuration(meter)
  app.addHook('onRequest', (request, _reply, done) => {
    begin(request)
    done()
  })
  // Not earlier: what reads a body calls back from where the connection was made.
  app.addHook('preHandler', (request, _reply, done) => {
    const span = spans.get(request)
    if (span === undefined) done()
    else context.with(trace.setSpan(context.active(), span), done)
  })
  app.addHook('onError', (request, _reply, error, done) => {
    note(request, error)
    done()
  })
  app.addHook('onResponse', (request, reply, done) => {
    end(request, reply, duration)
    done()
  })
}

/** Of requests, also of those that come otherwise than over HTTP. */
export function requestDuration(meter: Meter): Histogram {
  return meter.createHistogram('http.server.request.duration', {
    unit: 's',
    description: 'Duration of HTTP requests',
    advice: { explicitBucketBoundaries: durationSeconds },
  })
}

/** The trace of a request, for what is written on its behalf; the caller's own where this process makes no spans. */
export function traceOfRequest(request: FastifyRequest): TraceHeaders {
  return traceHeadersOf(spans.get(request))
}

/** Bounded, whatever is asked for. */
function routeOf(request: FastifyRequest): string {
  return request.routeOptions.url ?? 'unknown'
}

function begin(request: FastifyRequest): void {
  const route = routeOf(request)
  const { method, headers } = request
  if (quietRoutes.has(route) && headers.traceparent === undefined) return
  const parent = contextOf({ traceparent: headers.traceparent, tracestate: headers.tracestate })
  const span = tracer.startSpan(`${method} ${route}`, { kind: SpanKind.SERVER }, parent)
  spans.set(request, span)
  // Where nobody looks, a refusal shall not pay for what a request is like.
  if (span.isRecording()) span.setAttributes(attributesOf(request, route))
}

function attributesOf({ method, url, hostname, port, protocol }: FastifyRequest, route: string): Attributes {
  return {
    'http.request.method': method,
    'http.route': route,
    'url.path': url.split('?', 1)[0]!,
    'url.scheme': protocol,
    'server.address': hostname,
    ...(port === null ? {} : { 'server.port': port }),
  }
}

/** What a caller did wrong is in the answer's status; a span has failed when the server has. */
function note(request: FastifyRequest, { code, message }: Error & { readonly code?: string }): void {
  const span = spans.get(request)
  if (span === undefined || !span.isRecording()) return
  const name = code !== undefined && isErrorCode(code) ? code : 'internal'
  span.setAttribute('error.type', name)
  span.recordException({ name, message })
}

function end(request: FastifyRequest, reply: FastifyReply, duration: Histogram): void {
  const { statusCode } = reply
  const hasFailed = statusCode >= 500
  const span = spans.get(request)
  if (span !== undefined) {
    span.setAttribute('http.response.status_code', statusCode)
    if (hasFailed) span.setStatus({ code: SpanStatusCode.ERROR })
    span.end()
  }
  duration.record(reply.elapsedTime / 1000, {
    'http.request.method': request.method,
    'http.route': routeOf(request),
    'http.response.status_code': statusCode,
    'url.scheme': request.protocol,
  })
}
