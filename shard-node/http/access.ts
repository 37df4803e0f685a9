import { hash, timingSafeEqual } from 'node:crypto'
import type { FastifyInstance } from 'fastify'
import { FreshetError } from '../../schemas/errors.ts'

/** Refuses requests of the scope that do not show the secret. Compared by digest: the time it takes tells nothing. */
export function requireSecret(scope: FastifyInstance, secret: string | null): void {
  if (secret === null) return
  const expected = digestOf(`Bearer ${secret}`)
  scope.addHook('onRequest', (request, reply, done) => {
    if (timingSafeEqual(digestOf(request.headers.authorization ?? ''), expected)) return done()
    reply.header('www-authenticate', 'Bearer')
    done(new FreshetError('access-denied', 'the shard takes another secret than the one shown'))
  })
}

function digestOf(text: string): Buffer {
  return hash('sha256', text, 'buffer')
}
