import type { FastifyReply } from 'fastify'
import { FreshetError } from '../../schemas/errors.ts'

/**
 * Aborts with `client-gone` when the caller goes away before the answer is whole. (`signal` of Fastify's request is of its body, which has
 * come when a route begins: it says nothing of the caller, and may abort while the route is at work.)
 */
export function clientSignal({ raw }: Pick<FastifyReply, 'raw'>): AbortSignal {
  const controller = new AbortController()
  const abort = (): void => controller.abort(new FreshetError('client-gone', 'the caller has gone'))
  if (raw.destroyed) abort()
  else
    raw.once('close', () => {
      if (!raw.writableFinished) abort()
    })
  return controller.signal
}
