import type { FastifyRequest } from 'fastify'
import { FreshetError } from '../schemas/errors.ts'
import { type AccessOptions, allowsOrigin } from './access/access-options.ts'
import type { GatewayApp } from './gateway-app.ts'

export interface OriginRules extends Pick<AccessOptions, 'corsOrigins'> {
  readonly allowedHosts: readonly string[] | null
}

/**
 * Keeps web pages of others from using a server that asks nobody who they are: a request must be addressed to a known
 * host name (one of a page whose name was rebound to this address is not), and a browser's request that changes
 * something must come from our own page, or one of an origin that was allowed. What other pages only read, browsers
 * keep from them already.
 */
export function guardOrigin(app: GatewayApp, rules: OriginRules): void {
  app.addHook('onRequest', (request, _reply, done) => {
    const refusal = refusalOf(request, rules)
    done(refusal === null ? undefined : new FreshetError('origin-refused', refusal))
  })
}

function refusalOf({ headers, method }: FastifyRequest, rules: OriginRules): string | null {
  const { allowedHosts } = rules
  const host = headers.host ?? ''
  if (allowedHosts !== null && !allowedHosts.includes(nameOf(host)))
    return `the server is not called "${nameOf(host)}"; add it to the allowed hosts`
  const { origin } = headers
  if (origin === undefined || method === 'GET' || method === 'HEAD') return null
  return origin === `http://${host}` || origin === `https://${host}` || allowsOrigin(rules, origin)
    ? null
    : `a page of ${origin} may not call this server`
}

function nameOf(host: string): string {
  return host.replace(/:\d+$/, '').toLowerCase()
}
