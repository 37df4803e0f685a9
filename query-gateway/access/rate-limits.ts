import rateLimit from '@fastify/rate-limit'
import { FreshetError } from '../../schemas/errors.ts'
import type { GatewayApp } from '../gateway-app.ts'
import type { AccessOptions } from './access-options.ts'
import { routeAccess } from './route-access.ts'

const windowMs = 60_000
/** Callers remembered at once; the one not heard of for the longest is forgotten first. */
const maxCallers = 10_000

/**
 * Requests a minute of one key, or of one address where no keys are asked for, in this process. Probes, the page and
 * pictures are not counted. Not registered where there is nothing to count, so that it costs nothing there.
 */
export async function limitRates(app: GatewayApp, access: AccessOptions, onRefused: () => void): Promise<void> {
  if (access.keys === null && access.requestsPerMinute === 0) return
  const limitOf = (own: number | null): number => {
    const limit = own ?? access.requestsPerMinute
    return limit === 0 ? Number.MAX_SAFE_INTEGER : limit
  }
  await app.register(rateLimit, {
    timeWindow: windowMs,
    cache: maxCallers,
    max: request => limitOf(request.apiKey?.requestsPerMinute ?? null),
    keyGenerator: request => (request.apiKey === null ? `at ${request.ip}` : `key ${request.apiKey.name}`),
    allowList: request => {
      const needed = routeAccess(request.method, request.routeOptions.url ?? '')
      const isCounted = needed === 'read' || needed === 'write' || needed === 'admin'
      return !isCounted || limitOf(request.apiKey?.requestsPerMinute ?? null) === Number.MAX_SAFE_INTEGER
    },
    errorResponseBuilder: (_request, { max, ttl }) => {
      onRefused()
      return new FreshetError('rate-limited', `${max} requests a minute are used up`, {
        details: { limit: max, retryAfterMs: Math.max(0, Math.ceil(ttl)) },
      })
    },
  })
}
