import type { FastifyReply } from 'fastify'

/**
 * Aborts when the caller goes away before the answer is whole. (`signal` of Fastify's request is of its body, which has
 * come when a route begins: it says nothing of the caller, and may abort while the route is at work.)
 */
export function clientSignal({ raw }: Pick<FastifyReply, 'raw'>): AbortSignal {
  const gone = new AbortController()
  if (raw.destroyed) gone.abort()
  else
    raw.once('close', () => {
      if (!raw.writableFinished) gone.abort()
    })
  return gone.signal
}
