import type { Meter } from '@opentelemetry/api'
import fastify, { type FastifyBaseLogger, type FastifyInstance, LogController } from 'fastify'
import { FreshetError } from '../../schemas/errors.ts'
import { traceRequests } from '../../schemas/trace-requests.ts'
import { answerErrors } from '../../shard-node/http/error-answers.ts'

/** How a role without an API of its own is, for probes and Prometheus. */
export interface RoleProbes {
  /** Why the process cannot go on; null while it can. */
  failure(): FreshetError | null
  /** Null when it does its work. */
  whyNotReady(): string | null
  metrics(): Promise<string>
  /** Where durations of requests go. */
  readonly meter: Meter
}

const drainMs = 2_000

/** `/healthz`, `/readyz` and `/metrics` of a role. The caller may add routes, listens, and closes, which drains. */
export function createRoleServer(probes: RoleProbes, logger: FastifyBaseLogger): FastifyInstance {
  const app: FastifyInstance = fastify({
    loggerInstance: logger,
    logController: new LogController({ disableRequestLogging: true }),
    return503OnClosing: false,
  })
  traceRequests(app, probes.meter)
  app.addHook('preClose', async () => {
    setTimeout(() => app.server.closeAllConnections(), drainMs).unref()
  })
  answerErrors(app)
  app.get('/healthz', async () => {
    const failure = probes.failure()
    if (failure !== null) throw failure
    return { ok: true }
  })
  app.get('/readyz', async () => {
    const reason = probes.failure()?.message ?? probes.whyNotReady()
    if (reason !== null) throw new FreshetError('not-ready', reason)
    return { ok: true }
  })
  app.get('/metrics', async (_request, reply) => {
    reply.type('text/plain; version=0.0.4; charset=utf-8')
    return probes.metrics()
  })
  return app
}
