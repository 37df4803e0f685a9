import multipart from '@fastify/multipart'
import fastifyStatic from '@fastify/static'
import { Kind, type TSchema } from '@sinclair/typebox'
import { Value } from '@sinclair/typebox/value'
import fastify, { LogController } from 'fastify'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import { traceRequests } from '../schemas/trace-requests.ts'
import { allowOrigins } from './access/cross-origin.ts'
import { guardAccess } from './access/guard-access.ts'
import { limitRates } from './access/rate-limits.ts'
import { pageHeaders, sendSecurityHeaders } from './access/security-headers.ts'
import { adminRoutes } from './admin-routes.ts'
import { pictureRoutes, uploadRoute } from './blob-routes.ts'
import { CatalogIntake } from './catalog-intake.ts'
import { EngagementIntake } from './engagement-intake.ts'
import { engagementRoutes } from './engagement-routes.ts'
import { answerErrors, answerFrameworkError, answerMalformed } from './error-answers.ts'
import type { GatewayApp, GatewayParts } from './gateway-app.ts'
import { defaultGatewayOptions, type GatewayOptions } from './gateway-options.ts'
import { QualityBook } from './generation-quality.ts'
import { generationRoutes } from './generation-routes.ts'
import { bulkRoute, itemRoutes } from './item-routes.ts'
import { boundConnections } from './load/bound-connections.ts'
import { guardLoad } from './load/guard-load.ts'
import { registerOpenApi } from './openapi.ts'
import { guardOrigin } from './origin-guard.ts'
import type { GatewayPorts } from './ports.ts'
import { QueryAdmission } from './query-admission.ts'
import { QueryRouter } from './query-router.ts'
import { WeightsBook } from './ranking/ranking-weights.ts'
import { ReceiptWatch } from './receipt-watch.ts'
import { ReplicaRoster } from './replica-roster.ts'
import { RequestMeter } from './request-meter.ts'
import { searchRoutes } from './search-routes.ts'
import { shapeCheck } from './shape-check.ts'
import { statusRoutes } from './status-routes.ts'
import { VisualSearch } from './visual-search.ts'

/** A percent-encoded item id of 512 bytes has 1,536 characters; longer ones shall be told so, not be unknown routes. */
const maxParamLength = 16_384
/** A connection on which nothing moves, such as a bulk stream whose sender does not read its answers. */
const idleConnectionMs = 120_000

type GivenOptions = Pick<GatewayOptions, 'pageDirectory'> & Partial<GatewayOptions>

/** The HTTP API and the page, not listening yet; the caller listens, and closes, which drains. */
export async function createGateway(ports: GatewayPorts, given: GivenOptions): Promise<GatewayApp> {
  const options: GatewayOptions = { ...defaultGatewayOptions, ...given }
  const app = newApp(ports, options)
  const draining = new AbortController()
  const parts = assemble(ports, options, draining.signal)
  app.addHook('preClose', async () => {
    draining.abort()
    setTimeout(() => app.server.closeAllConnections(), options.drainMs).unref()
  })
  traceRequests(app, options.meter)
  answerErrors(app)
  measure(app, parts)
  boundConnections(app, options)
  await guard(app, options, draining.signal)
  guardLoad(app, parts.admission, options)
  await registerOpenApi(app)
  await app.register(multipart, { limits: { fileSize: options.imageMaxBytes, files: 1, fields: 1, parts: 2 } })
  searchRoutes(app, parts)
  itemRoutes(app, parts)
  pictureRoutes(app, parts)
  engagementRoutes(app, parts)
  adminRoutes(app, parts)
  generationRoutes(app, parts)
  statusRoutes(app, parts)
  await app.register(async (scope: GatewayApp) => {
    scope.removeAllContentTypeParsers()
    scope.addContentTypeParser('*', (_request, _payload, done) => done(null))
    bulkRoute(scope, parts)
    uploadRoute(scope, parts)
  })
  await servePage(app, options.pageDirectory)
  app.addHook('onClose', () => parts.engagement.close())
  return app
}

/** What a request passes before its route, in this order; the first that refuses it answers. */
async function guard(app: GatewayApp, options: GatewayOptions, draining: AbortSignal): Promise<void> {
  const { access, allowedHosts } = options
  const refused = options.meter.createCounter('freshet.access.refused', {
    description: 'Calls refused for want of a key, of a role, or of requests left, by code',
  })
  for (const code of ['unauthenticated', 'forbidden', 'rate-limited']) refused.add(0, { code })
  sendSecurityHeaders(app, access)
  await allowOrigins(app, access)
  app.addHook('onRequest', (_request, _reply, done) => {
    done(draining.aborted ? new FreshetError('not-ready', 'the server is draining') : undefined)
  })
  guardOrigin(app, { allowedHosts, corsOrigins: access.corsOrigins })
  guardAccess(app, { access, onRefused: code => refused.add(1, { code }) })
  await limitRates(app, access, () => refused.add(1, { code: 'rate-limited' }))
}

function assemble(ports: GatewayPorts, options: GatewayOptions, draining: AbortSignal): GatewayParts {
  const roster = new ReplicaRoster(ports, options.fanout)
  const weights = WeightsBook.read()
  const router = new QueryRouter(ports, weights)
  const quality = new QualityBook(ports.clock, options.meter)
  const meter = new RequestMeter(ports.clock, options.meter)
  const engagement = new EngagementIntake(ports, options)
  const admission = new QueryAdmission(options, () => performance.now())
  const isCrowded = () => admission.isCrowded('lookups')
  return {
    ports,
    options,
    roster,
    router,
    quality,
    meter,
    draining,
    search: new VisualSearch({ ports, roster, router, weights, quality, engagement, isCrowded, options }),
    engagement,
    admission,
    intake: new CatalogIntake(ports, count => meter.accepted.add(count)),
    receipts: new ReceiptWatch(ports.routing, roster),
  }
}

function newApp(ports: GatewayPorts, options: GatewayOptions): GatewayApp {
  const app: GatewayApp = fastify({
    ...(options.logger ? { loggerInstance: options.logger } : {}),
    logController: new LogController({ disableRequestLogging: true }),
    bodyLimit: options.bodyMaxBytes,
    connectionTimeout: idleConnectionMs,
    return503OnClosing: false,
    genReqId: ports.newId,
    routerOptions: { maxParamLength },
    frameworkErrors: answerFrameworkError,
    clientErrorHandler: answerMalformed,
  })
  app.setValidatorCompiler(({ schema, httpPart, ...route }) => {
    const byContentType = 'contentType' in route && route.contentType !== undefined
    return byContentType ? value => ({ value }) : validator(schema as TSchema, httpPart === 'body')
  })
  app.setSerializerCompiler(() => value => JSON.stringify(value))
  app.removeContentTypeParser('text/plain')
  return app
}

/** Bodies are taken as they are; texts in paths and query strings are read as the numbers and words they stand for. */
function validator(shape: TSchema, isBody: boolean) {
  if (!(Kind in shape)) throw new FreshetError('internal', 'a route has a shape that is not one of schemas/http-*')
  const check: (value: unknown) => void = shapeCheck(shape)
  return (given: unknown) => {
    const value = isBody ? given : Value.Convert(shape, given)
    try {
      check(value)
      return { value }
    } catch (thrown) {
      return { error: asFreshetError(thrown) }
    }
  }
}

function measure(app: GatewayApp, { meter }: GatewayParts): void {
  app.addHook('onResponse', (request, reply, done) => {
    const route = `${request.method} ${request.routeOptions.url ?? 'unknown'}`
    meter.answered(route, reply.statusCode, reply.elapsedTime)
    done()
  })
}

async function servePage(app: GatewayApp, directory: string): Promise<void> {
  await app.register(fastifyStatic, {
    root: directory,
    prefix: '/',
    // Its tests and compiler settings lie beside it.
    allowedPath: path => path === '/' || /\.(html|css|js|svg)$/.test(path),
    decorateReply: false,
    schemaHide: true,
    cacheControl: false,
    setHeaders: reply => {
      reply.headers(pageHeaders)
    },
  })
}
