import type { Socket } from 'node:net'
import type { FastifyError, FastifyReply, FastifyRequest } from 'fastify'
import { type ErrorCode, FreshetError } from '../schemas/errors.ts'
import type { GatewayApp } from './gateway-app.ts'
import { rawAnswer } from './load/bound-connections.ts'

/** Where the error does not know better. */
const retryAfterSeconds = 1
const saysWhen: ReadonlySet<ErrorCode> = new Set(['overloaded', 'not-ready', 'rate-limited'])

const headersTooLarge = 431

/** Codes of fastify and its plugins in our vocabulary; what is not here follows from the status. */
const frameworkCodes: Readonly<Record<string, ErrorCode>> = {
  FST_ERR_CTP_BODY_TOO_LARGE: 'body-too-large',
  FST_ERR_CTP_INVALID_MEDIA_TYPE: 'unsupported-media-type',
  FST_INVALID_MULTIPART_CONTENT_TYPE: 'unsupported-media-type',
  FST_REQ_FILE_TOO_LARGE: 'image-too-large',
  FST_PARTS_LIMIT: 'bad-request',
  FST_FILES_LIMIT: 'bad-request',
  FST_FIELDS_LIMIT: 'bad-request',
  FST_INVALID_JSON_FIELD_ERROR: 'bad-request',
  FST_ERR_NOT_FOUND: 'not-found',
}

/** Every failure of every route as the documented JSON; an unknown one is `internal`, logged, and not told to the caller. */
export function answerErrors(app: GatewayApp): void {
  app.setErrorHandler((thrown: unknown, request, reply) => {
    const error = publicError(thrown, request)
    if (error.code === 'internal' && !request.raw.destroyed)
      request.log.error({ err: thrown, route: request.routeOptions.url }, 'a request failed')
    return sendError(reply, error)
  })
  const methods = methodsByPath(app)
  app.setNotFoundHandler((request, reply) => {
    const allowed = methods(request.url.split('?', 1)[0]!)
    if (allowed.length === 0) throw new FreshetError('not-found', `there is no route ${request.method} ${request.url}`)
    reply.header('allow', allowed.join(', '))
    throw new FreshetError('method-not-allowed', `${request.method} is not allowed here; ${allowed.join(', ')} is`)
  })
}

export function sendError(reply: FastifyReply, error: FreshetError): FastifyReply {
  if (saysWhen.has(error.code)) reply.header('retry-after', String(retryAfterOf(error)))
  reply.header('cache-control', 'no-store')
  return reply.code(error.httpStatus).type('application/json; charset=utf-8').send(error.toBody())
}

/** Whole seconds, at least one. */
function retryAfterOf({ details }: FreshetError): number {
  const { retryAfterMs } = (details ?? {}) as { readonly retryAfterMs?: unknown }
  return typeof retryAfterMs === 'number' ? Math.max(1, Math.ceil(retryAfterMs / 1000)) : retryAfterSeconds
}

function publicError(thrown: unknown, request: FastifyRequest): FreshetError {
  if (thrown instanceof FreshetError && thrown.code !== 'internal') return thrown
  const { code = '', statusCode = 500, message = '' } = thrown as Partial<FastifyError>
  const known = frameworkCodes[code]
  if (known === 'unsupported-media-type') return new FreshetError(known, takenTypes(request), { cause: thrown })
  if (known) return new FreshetError(known, lowerFirst(message), { cause: thrown })
  if (statusCode >= 400 && statusCode < 500)
    return new FreshetError('bad-request', lowerFirst(message), { cause: thrown })
  return new FreshetError('internal', `an internal error; the log has it under request ${request.id}`, {
    cause: thrown,
  })
}

function takenTypes({ headers, routeOptions }: FastifyRequest): string {
  const body = routeOptions.schema?.body as { readonly content?: object } | undefined
  const taken = Object.keys(body?.content ?? { 'application/json': {} })
  return `the content type ${headers['content-type'] ?? '(none)'} is not taken here; send ${taken.join(' or ')}`
}

/** Methods of the API's routes whose pattern fits a path. The page's catch-all is not among them. */
function methodsByPath(app: GatewayApp): (path: string) => readonly string[] {
  const routes = new Map<string, { readonly pattern: RegExp; readonly methods: Set<string> }>()
  app.addHook('onRoute', ({ url, method }) => {
    if (url.includes('*')) return
    const known = routes.get(url) ?? { pattern: patternOf(url), methods: new Set() }
    for (const name of [method].flat()) known.methods.add(name)
    routes.set(url, known)
  })
  return path => [...routes.values()].flatMap(({ pattern, methods }) => (pattern.test(path) ? [...methods] : []))
}

function patternOf(url: string): RegExp {
  return new RegExp(`^${url.replace(/:[^/]+/g, '[^/]+')}/?$`)
}

function lowerFirst(text: string): string {
  return text.charAt(0).toLowerCase() + text.slice(1)
}

/** For failures before a request exists, such as malformed HTTP. */
export function answerMalformed(error: Error & { readonly code?: string }, socket: Socket): void {
  if (error.code === 'ECONNRESET' || !socket.writable) {
    socket.destroy()
    return
  }
  if (error.code === 'ERR_HTTP_REQUEST_TIMEOUT') {
    socket.end(rawAnswer(new FreshetError('request-timeout', 'the head of the request did not come in time')))
    return
  }
  const tooLarge = error.code === 'HPE_HEADER_OVERFLOW'
  const message = tooLarge ? 'the request line and headers are too large' : 'this is not a valid HTTP request'
  socket.end(rawAnswer(new FreshetError('bad-request', message), tooLarge ? headersTooLarge : undefined))
}

/** A URL that the router cannot decode. */
export function answerFrameworkError(_error: FastifyError, request: FastifyRequest, reply: FastifyReply): void {
  sendError(reply, new FreshetError('bad-request', `the path ${request.url} is not valid percent-encoding`))
}
