import cors from '@fastify/cors'
import type { GatewayApp } from '../gateway-app.ts'
import { type AccessOptions, allowsOrigin } from './access-options.ts'

/** What a page may read of an answer besides its body. */
const exposed = [
  'location',
  'retry-after',
  'www-authenticate',
  'x-request-id',
  'x-ratelimit-limit',
  'x-ratelimit-remaining',
  'x-ratelimit-reset',
]

const preflightSeconds = 600

/**
 * Lets pages of the named origins call the API, with a key they hold; cookies play no part. Registered before
 * everything that may refuse a request, so that such a page can read why.
 */
export async function allowOrigins(app: GatewayApp, access: AccessOptions): Promise<void> {
  if (access.corsOrigins.length === 0) return
  await app.register(cors, {
    origin: (origin, answer) => answer(null, origin !== undefined && allowsOrigin(access, origin)),
    methods: ['GET', 'HEAD', 'POST', 'PUT', 'DELETE'],
    allowedHeaders: ['authorization', 'content-type', 'if-none-match', 'traceparent', 'tracestate', 'x-api-key'],
    exposedHeaders: exposed,
    credentials: false,
    // Its answer to a malformed preflight would not be our JSON.
    strictPreflight: false,
    maxAge: preflightSeconds,
  })
}
