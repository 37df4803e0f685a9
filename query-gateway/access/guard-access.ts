import type { FastifyReply, FastifyRequest } from 'fastify'
import { FreshetError } from '../../schemas/errors.ts'
import type { GatewayApp } from '../gateway-app.ts'
import { type AccessOptions, openableParts } from './access-options.ts'
import { type ApiKey, covers, type Role } from './api-key.ts'
import type { KeyRing } from './key-ring.ts'
import { type RouteAccess, routeAccess } from './route-access.ts'

declare module 'fastify' {
  interface FastifyRequest {
    /** Whose key the request carries; null where none is asked for, or none was needed. */
    apiKey: ApiKey | null
  }
}

export interface AccessGuardOptions {
  readonly access: AccessOptions
  /** Told of each refusal, for the metrics. */
  readonly onRefused: (code: 'unauthenticated' | 'forbidden') => void
}

/** Asks for a key where keys are in force. Registered before all routes, after CORS, whose preflights carry no key. */
export function guardAccess(app: GatewayApp, { access, onRefused }: AccessGuardOptions): void {
  app.decorateRequest('apiKey', null)
  const { keys, open } = access
  if (keys === null) return
  const isOpen = (needed: RouteAccess): boolean => needed === 'anyone' || (open as readonly string[]).includes(needed)
  app.addHook('onRequest', async (request, reply) => {
    const needed = routeAccess(request.method, patternOf(request))
    // A key that is shown where none is needed still decides whose rate limit counts.
    if (isOpen(needed) && presentedKey(request) === null) return
    const role = roleFor(needed)
    try {
      request.apiKey = identified(request, reply, keys)
      if (!isOpen(needed)) requireRole(request.apiKey, role)
    } catch (thrown) {
      if (thrown instanceof FreshetError && (thrown.code === 'unauthenticated' || thrown.code === 'forbidden'))
        onRefused(thrown.code)
      throw thrown
    }
  })
}

/** The pattern of the route, or for an unknown one the path, so that what does not exist is told to readers only. */
function patternOf(request: FastifyRequest): string {
  return request.routeOptions.url ?? request.url.split('?', 1)[0]!
}

function roleFor(needed: RouteAccess): Role {
  const isPart = needed === 'anyone' || (openableParts as readonly string[]).includes(needed)
  return isPart ? 'read' : (needed as Role)
}

function identified(request: FastifyRequest, reply: FastifyReply, keys: KeyRing): ApiKey {
  const presented = presentedKey(request)
  const found = presented === null ? null : keys.find(presented)
  if (found) return found
  reply.header('www-authenticate', `Bearer realm="freshet"${presented === null ? '' : ', error="invalid_token"'}`)
  throw new FreshetError(
    'unauthenticated',
    presented === null ? 'send an API key as `Authorization: Bearer KEY`' : 'the API key is not one of this server',
  )
}

function requireRole(key: ApiKey, needed: Role): void {
  if (covers(key.role, needed)) return
  throw new FreshetError('forbidden', `this needs the role ${needed}; the key of ${key.name} has ${key.role}`, {
    details: { needed, held: key.role },
  })
}

/** Null when there is none; empty when something was sent that is no key. */
function presentedKey({ headers }: FastifyRequest): string | null {
  const { authorization, 'x-api-key': plain } = headers
  if (authorization !== undefined) return /^Bearer +([^\s]+) *$/i.exec(authorization)?.[1] ?? ''
  if (plain === undefined) return null
  return typeof plain === 'string' ? plain.trim() : ''
}
