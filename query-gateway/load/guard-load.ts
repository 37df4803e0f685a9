import type { FastifyReply, FastifyRequest } from 'fastify'
import { FreshetError } from '../../schemas/errors.ts'
import type { GatewayApp } from '../gateway-app.ts'
import type { GatewayOptions } from '../gateway-options.ts'
import { type LaneName, laneNames, type QueryAdmission } from '../query-admission.ts'
import { BodyBudget } from './body-budget.ts'

const adminCourtesyMs = 1_000
/** Their bodies go on as they come and are never held; the senders pace themselves by that. */
const streamed: ReadonlySet<string> = new Set(['POST /v1/items', 'PUT /v1/blobs'])

/**
 * Refuses before anything is read what could not be answered in time or held in memory: a query whose every possible
 * lane is full, and a body beyond the budget. Operators' calls let waiting queries go first, for a second at most.
 */
export function guardLoad(app: GatewayApp, admission: QueryAdmission, options: GatewayOptions): void {
  const budget = new BodyBudget(options.maxHeldBodyBytes)
  const held = options.meter.createObservableGauge('freshet.http.held_body_size', {
    description: 'Bytes of request bodies held in memory, or expected to be',
    unit: 'By',
  })
  held.addCallback(result => result.observe(budget.heldBytes))
  app.addHook('onRequest', (request, reply, done) => {
    const lanes = possibleLanes(request)
    const refusal = lanes === null ? null : admission.refusal(lanes)
    done(refusal ?? holdBody(request, reply, { budget, maxBytes: options.bodyMaxBytes }))
  })
  refuseLookups(app, admission)
  app.addHook('preHandler', (request, _reply, done) => {
    const isAdmin = request.routeOptions.url?.startsWith('/v1/admin/') ?? false
    if (isAdmin) admission.calm(adminCourtesyMs).then(() => done(), done)
    else done()
  })
}

/**
 * A search that names no image needs no model: where those have no room it is refused before its hundreds of numbers are
 * read, which is most of what a refusal costs.
 */
function refuseLookups(app: GatewayApp, admission: QueryAdmission): void {
  const parse = app.getDefaultJsonParser('error', 'error')
  const refusals = new WeakMap<FastifyRequest, FreshetError>()
  app.addContentTypeParser('application/json', { parseAs: 'string' }, (request, body: string, done) => {
    const isLookup = request.routeOptions.url === '/v1/search' && !body.includes('"image"')
    const refusal = isLookup ? admission.refusal(['lookups']) : null
    if (refusal === null) return parse(request, body, done)
    // Told by the next hook: after an error of a parser the connection is closed.
    refusals.set(request, refusal)
    done(null)
  })
  app.addHook('preValidation', (request, _reply, done) => done(refusals.get(request)))
}

/** Those that a query may be of, before its body says which; null for what is no query. */
function possibleLanes({ routeOptions, headers }: FastifyRequest): readonly LaneName[] | null {
  const { url } = routeOptions
  if (url === '/v1/items/:id/similar') return ['lookups']
  if (url !== '/v1/search' && url !== '/v1/detect') return null
  if (headers['content-type']?.startsWith('multipart/')) return ['pictures']
  return url === '/v1/detect' ? ['pictures', 'fetches'] : laneNames
}

interface Holding {
  readonly budget: BodyBudget
  /** Taken for a body of unknown length, and for one that says it is longer, which is refused later. */
  readonly maxBytes: number
}

/** What refuses it, if anything does. */
function holdBody(
  request: FastifyRequest,
  reply: FastifyReply,
  { budget, maxBytes }: Holding,
): FreshetError | undefined {
  const { 'content-length': length, 'transfer-encoding': encoding } = request.headers
  if (length === undefined && encoding === undefined) return undefined
  if (streamed.has(`${request.method} ${request.routeOptions.url}`)) return undefined
  const bytes = Math.min(maxBytes, length === undefined ? maxBytes : Number(length))
  if (bytes === 0) return undefined
  if (!budget.reserve(bytes))
    return new FreshetError('overloaded', `bodies of ${budget.heldBytes} bytes are being read or answered`)
  reply.raw.once('close', () => budget.release(bytes))
  return undefined
}
