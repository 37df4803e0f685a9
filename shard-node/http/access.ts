import { hash, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { FreshetError } from '../../schemas/errors.ts'

/** Refuses requests of the scope that do not show the secret. */
export function requireSecret(scope: FastifyInstance, secret: string | null): void {
  if (secret === null) return
  const check = secretCheck(secret)
  scope.addHook('onRequest', (request, reply, done) => {
    const refusal = check(request.headers.authorization)
    if (refusal === null) return done()
    reply.header('www-authenticate', 'Bearer')
    done(refusal)
  })
}

/** What a request is refused for by what it shows; null when it is not. Compared by digest: the time tells nothing. */
export function secretCheck(secret: string | null): (authorization: string | undefined) => FreshetError | null {
  if (secret === null) return () => null
  const expected = digestOf(`Bearer ${secret}`)
  return (authorization = '') =>
    timingSafeEqual(digestOf(authorization), expected)
      ? null
      : new FreshetError('access-denied', 'the shard takes another secret than the one shown')
}

function digestOf(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}
