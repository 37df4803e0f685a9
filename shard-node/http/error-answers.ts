import type { FastifyError, FastifyInstance, FastifyReply } from 'fastify'
import { FreshetError } from '../../schemas/errors.ts'

/** Every failure as the common error body; what is not ours is `internal`, and logged. */
export function answerErrors(app: FastifyInstance): void {
  app.setErrorHandler((thrown: unknown, request, reply) => {
    const error = knownError(thrown)
    if (error.code === 'internal') request.log.error({ err: thrown, route: request.url }, 'a request failed')
    return sendError(reply, error)
  })
  app.setNotFoundHandler((request, reply) =>
    sendError(reply, new FreshetError('not-found', `there is no route ${request.method} ${request.url}`)),
  )
}

export interface ErrorAnswer {
  readonly status: number
  readonly text: string
}

export function errorAnswer(error: FreshetError): ErrorAnswer {
  const status = error.code === 'access-denied' ? 401 : error.httpStatus
  return { status, text: JSON.stringify(error.toBody()) }
}

function sendError(reply: FastifyReply, error: FreshetError): FastifyReply {
  const { status, text } = errorAnswer(error)
  return reply.code(status).type('application/json').send(text)
}

export function knownError(thrown: unknown): FreshetError {
  if (thrown instanceof FreshetError) return thrown
  const { statusCode = 500, code, message } = thrown as Partial<FastifyError>
  if (code === 'FST_ERR_CTP_BODY_TOO_LARGE') return new FreshetError('body-too-large', 'the body is too large')
  if (statusCode >= 400 && statusCode < 500)
    return new FreshetError('bad-request', message ?? 'bad request', { cause: thrown })
  return new FreshetError('internal', message ?? 'the request failed', { cause: thrown })
}
