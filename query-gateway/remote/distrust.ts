import { FreshetError } from '../../schemas/errors.ts'
import { errorOfAnswer } from '../../schemas/shard-wire.ts'

/** Why an answer, or its absence, is not believed. */
export type Distrust = 'unreachable' | 'late' | 'too-large' | 'stray' | 'foreign'

export function distrusted(why: Distrust, message: string, cause?: Error): FreshetError {
  return new FreshetError('replica-unavailable', message, { cause, details: { why } })
}

/** What an error answer tells of: the replica's own failure, or that somebody else is there. */
export function failureOf(text: string): FreshetError {
  const error = errorOfAnswer(text)
  return error.code === 'not-found' ? distrusted('foreign', error.message) : error
}
