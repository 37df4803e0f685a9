import type { FastifyReply, FastifyRequest } from 'fastify'
import { FreshetError } from '../../schemas/errors.ts'
import { wireHeaders } from '../../schemas/shard-wire.ts'

export interface CallSignalOptions {
  readonly request: FastifyRequest
  readonly reply: FastifyReply
  /** The longest a call may take, whatever the caller says. */
  readonly maxMs: number
}

/**
 * Does the work under a signal that aborts when the caller's time is over or the caller has gone: nobody would read
 * the answer.
 * @throws FreshetError `bad-request` for a time that is none; what the work throws
 */
export async function whileAsked<T>(
  { request, reply, maxMs }: CallSignalOptions,
  work: (signal: AbortSignal) => Promise<T>,
): Promise<T> {
  const ended = new AbortController()
  const timeoutMs = Math.min(maxMs, timeoutOf(request) ?? maxMs)
  const timer = setTimeout(() => ended.abort(new FreshetError('timeout', `not done in ${timeoutMs} ms`)), timeoutMs)
  const leave = (): void => ended.abort(new FreshetError('timeout', 'the caller has gone'))
  reply.raw.once('close', leave)
  try {
    return await work(ended.signal)
  } finally {
    clearTimeout(timer)
    reply.raw.off('close', leave)
  }
}

function timeoutOf({ headers }: FastifyRequest): number | undefined {
  const text = headers[wireHeaders.timeoutMs]
  if (text === undefined) return undefined
  if (typeof text === 'string' && /^[1-9][0-9]{0,8}$/.test(text)) return Number(text)
  throw new FreshetError('bad-request', `${wireHeaders.timeoutMs} is a number of milliseconds`)
}
