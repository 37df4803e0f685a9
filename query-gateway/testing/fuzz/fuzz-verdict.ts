import { Value } from '@sinclair/typebox/value'
import { errorCodes, isErrorCode } from '../../../schemas/errors.ts'
import { ErrorShape } from '../../../schemas/http-shape.ts'
import type { FuzzRequest } from './fuzz-requests.ts'

export interface FuzzAnswer {
  readonly status: number
  readonly contentType: string
  readonly text: string
}

/** Of the server's own state, not of the request. */
const excused: ReadonlySet<string> = new Set(['overloaded'])

/** What is wrong with an answer; null when nothing is. */
export function wrongWith({ kind }: FuzzRequest, answer: FuzzAnswer): string | null {
  const { status, contentType, text } = answer
  if (/node_modules|\n {4}at |file:\/\/\/.*\.ts/.test(text) && kind !== 'read') return 'tells of the inside'
  if (status < 400) return kind === 'bulk' ? wrongLines(text) : null
  if (!contentType.includes('application/json')) return `an error as ${contentType}`
  const body = parsed(text)
  if (!Value.Check(ErrorShape, body)) return 'an error that has not the documented shape'
  const { code } = (body as { readonly error: { readonly code: string } }).error
  if (!isErrorCode(code)) return `an unknown code ${code}`
  if (errorCodes[code].httpStatus !== status && status !== statusOfMalformed) return `${status} for ${code}`
  return status >= 500 && !excused.has(code) ? `${status} ${code}` : null
}

/** Headers that are too large have a status of their own. */
const statusOfMalformed = 431

/** How the outcome is counted, such as `search 400 bad-request`. */
export function outcomeOf({ kind }: FuzzRequest, { status, text }: FuzzAnswer): string {
  if (status < 400) return `${kind} ${status}`
  const { error } = (parsed(text) ?? {}) as { readonly error?: { readonly code?: string } }
  return `${kind} ${status} ${error?.code ?? '(no code)'}`
}

/** Each line of a bulk answer is a receipt or an error that is the sender's. */
function wrongLines(text: string): string | null {
  for (const line of text.split('\n')) {
    if (line === '') continue
    const { error } = (parsed(line) ?? {}) as { readonly error?: { readonly code: string } }
    if (error === undefined) continue
    if (!isErrorCode(error.code)) return `a line with the unknown code ${error.code}`
    if (errorCodes[error.code].httpStatus >= 500 && !excused.has(error.code)) return `a line with ${error.code}`
  }
  return null
}

function parsed(text: string): unknown {
  try {
    return JSON.parse(text)
  } catch {
    // Whoever asks says what is wrong with it.
    return null
  }
}
