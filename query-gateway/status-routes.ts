import { Type } from '@sinclair/typebox'
import { FreshetError } from '../schemas/errors.ts'
import { type LiveEvent, Quality, Status } from '../schemas/http-operations.ts'
import { catalogTopic } from '../schemas/topics.ts'
import type { GatewayApp, GatewayParts } from './gateway-app.ts'
import { slotMs } from './generation-quality.ts'
import { LiveEvents } from './live-events.ts'
import { observeGauges } from './observed-gauges.ts'
import { described, describeRoute } from './openapi.ts'
import { type KnownStatus, statusGauges } from './status-gauges.ts'
import { systemStatus } from './system-status.ts'

/** How the system is: for people, probes, Prometheus and the page. */
export function statusRoutes(app: GatewayApp, parts: GatewayParts): void {
  const { ports, options, quality } = parts
  const snapshot = async (): Promise<LiveEvent> => {
    const recent = ports.recentItems().map(({ itemId, title, digest, atMs }) => {
      return { itemId, title, blob: digest === null ? null : `blob:${digest}`, atMs }
    })
    return { status: await systemStatus(parts), recent }
  }
  const live = new LiveEvents({
    maxClients: options.maxEventStreams,
    snapshot,
    failed: thrown => app.log.error({ err: thrown }, 'event streams are ended'),
  })
  app.addHook('preClose', async () => live.close())
  observeGauges(options.meter, statusGauges, async (): Promise<KnownStatus> => {
    const [status, ends] = await Promise.all([systemStatus(parts), ports.log.offsets(catalogTopic)])
    return { status, shards: status.shards, ends }
  })

  app.get('/v1/status', { schema: statusSchema }, async (): Promise<Status> => systemStatus(parts))

  app.get('/v1/quality', { schema: qualitySchema }, async (): Promise<Quality> => {
    return { slotMs, generations: quality.curves() }
  })

  app.get('/v1/events', { schema: eventsSchema, exposeHeadRoute: false }, async (_request, reply) => {
    live.admit()
    reply.hijack()
    reply.raw.writeHead(200, {
      ...headersOf(reply.getHeaders()),
      'content-type': 'text/event-stream; charset=utf-8',
      'cache-control': 'no-store',
    })
    live.add(reply.raw)
  })

  app.get('/metrics', { schema: metricsSchema }, async (_request, reply) => {
    reply.type('text/plain; version=0.0.4; charset=utf-8')
    return options.metricsText()
  })

  app.get('/healthz', { schema: healthSchema }, async () => ({ ok: true as const }))

  app.get('/readyz', { schema: readySchema }, async () => {
    const { ready } = await systemStatus(parts)
    if (!ready) throw new FreshetError('not-ready', 'the server is starting, catching up or draining')
    return { ok: true as const }
  })
}

function headersOf(headers: object): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, String(value)]))
}

const Health = Type.Object({ ok: Type.Literal(true) }, { $id: 'Health', examples: [{ ok: true }] })

const statusSchema = describeRoute({
  tag: 'operate',
  operationId: 'getStatus',
  summary: 'State of the index, its shards and the pipeline',
  response: { 200: Status },
})

const qualitySchema = describeRoute({
  tag: 'operate',
  operationId: 'getQuality',
  summary: 'How the searches of each generation went',
  description:
    'To compare two generations that share the queries. Each gateway tells of the searches it answered; the metrics ' +
    '`freshet_generation_*` are for all of them.',
  response: { 200: Quality },
})

const eventsSchema = describeRoute({
  tag: 'operate',
  operationId: 'streamStatus',
  summary: 'State as Server-Sent Events, once a second',
  description:
    'Event `status`, whose data is a JSON object with `status` and `recent`, the items last made searchable.',
  response: { 200: described('text/event-stream', 'a stream of events') },
})

const metricsSchema = describeRoute({
  tag: 'operate',
  operationId: 'getMetrics',
  summary: 'Metrics as Prometheus text',
  response: { 200: described('text/plain', 'Prometheus text exposition format 0.0.4') },
})

const healthSchema = describeRoute({
  tag: 'operate',
  operationId: 'isAlive',
  summary: 'Whether the process answers',
  response: { 200: Health },
})

const readySchema = describeRoute({
  tag: 'operate',
  operationId: 'isReady',
  summary: 'Whether the process may be sent requests; else 503',
  response: { 200: Health },
})
