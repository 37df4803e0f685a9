import type { FastifyInstance } from 'fastify'
import { FreshetError } from '../../schemas/errors.ts'
import type { ShardServerParts } from './shard-server.ts'

/** For probes and Prometheus; open to whoever reaches the address. */
export function healthRoutes(app: FastifyInstance, parts: ShardServerParts): void {
  app.get('/healthz', async () => {
    const failure = parts.failure()
    if (failure !== null) throw failure
    return { ok: true }
  })

  app.get('/readyz', async () => {
    const reason = await whyNotReady(parts)
    if (reason !== null) throw new FreshetError('not-ready', reason)
    return { ok: true }
  })

  const { metrics } = parts
  if (metrics === undefined) return
  app.get('/metrics', async (_request, reply) => {
    reply.type('text/plain; version=0.0.4; charset=utf-8')
    return metrics()
  })
}

async function whyNotReady({ replicas }: ShardServerParts): Promise<string | null> {
  const served = replicas()
  if (served.length === 0) return 'the process holds no replica'
  const waiting = served.filter(({ state }) => state !== 'ready')
  const reasons = await Promise.all(
    waiting.map(async replica => {
      const { state, reason } = await replica.status()
      return `${replica.replica} is ${state}${reason === null ? '' : `: ${reason}`}`
    }),
  )
  return reasons.length === 0 ? null : reasons.join('; ')
}
