import type { FastifyRequest } from 'fastify'
import { FreshetError } from '../schemas/errors.ts'
import type { GatewayApp } from './gateway-app.ts'

/**
 * Keeps web pages of others from using a server that asks nobody who they are: a request must be addressed to a known
 * host name (one of a page whose name was rebound to this address is not), and a browser's request that changes
 * something must come from our own page. What other pages only read, browsers keep from them already.
 */
export function guardOrigin(app: GatewayApp, allowedHosts: readonly string[] | null): void {
  app.addHook('onRequest', async request => {
    const refusal = refusalOf(request, allowedHosts)
    if (refusal !== null) throw new FreshetError('origin-refused', refusal)
  })
}

function refusalOf({ headers, method }: FastifyRequest, allowedHosts: readonly string[] | null): string | null {
  const host = headers.host ?? ''
  if (allowedHosts !== null && !allowedHosts.includes(nameOf(host)))
    return `the server is not called "${nameOf(host)}"; add it to the allowed hosts`
  const { origin } = headers
  if (origin === undefined || method === 'GET' || method === 'HEAD') return null
  return origin === `http://${host}` || origin === `https://${host}`
    ? null
    : `a page of ${origin} may not call this server`
}

function nameOf(host: string): string {
  return host.replace(/:\d+$/, '').toLowerCase()
}
