import type { GatewayApp } from '../gateway-app.ts'
import type { AccessOptions } from './access-options.ts'

/** A JSON API that no browser shall interpret, and no page of others frame; the page and pictures loosen what they need. */
export function sendSecurityHeaders(app: GatewayApp, { corsOrigins }: AccessOptions): void {
  // Pages of allowed origins show our pictures as well.
  const resourcePolicy = corsOrigins.length === 0 ? 'same-origin' : 'cross-origin'
  app.addHook('onRequest', (request, reply, done) => {
    reply.headers({
      'x-request-id': request.id,
      'x-content-type-options': 'nosniff',
      'x-frame-options': 'DENY',
      'referrer-policy': 'no-referrer',
      'cross-origin-resource-policy': resourcePolicy,
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'cache-control': 'no-store',
    })
    done()
  })
}

/** Of the page: its own scripts, styles and pictures, none of them inline, and no host but this one. */
export const pageHeaders: Readonly<Record<string, string>> = {
  'content-security-policy': [
    "default-src 'none'",
    "script-src 'self'",
    "style-src 'self'",
    "img-src 'self' data: blob:",
    "connect-src 'self'",
    "manifest-src 'self'",
    "base-uri 'none'",
    "form-action 'none'",
    "frame-ancestors 'none'",
  ].join('; '),
  'cross-origin-opener-policy': 'same-origin',
  'permissions-policy': 'geolocation=(), microphone=(), payment=(), usb=()',
  'cache-control': 'no-cache',
}
