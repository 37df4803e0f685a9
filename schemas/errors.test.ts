import { STATUS_CODES } from 'node:http'
import { describe, expect, test } from 'vitest'
import { asFreshetError, type ErrorCode, errorCodes, FreshetError, isErrorCode } from './errors.ts'

/** Whether the status alone tells a client to try again; null where only the code can. */
function retryableByStatus(status: number): boolean | null {
  if (status === 422 || status === 500) return null
  return status === 429 || status > 500
}

test('every code has a name, an operator sentence, a known status and a fitting retryable', () => {
  for (const [code, { operator, httpStatus, retryable }] of Object.entries(errorCodes)) {
    expect(code).toMatch(/^[a-z]+(-[a-z]+)*$/)
    expect(operator, code).toMatch(/^[A-Z].{20,}\.$/)
    expect(operator, code).not.toMatch(/\n|TODO/)
    expect(STATUS_CODES[httpStatus], code).toBeDefined()
    expect(httpStatus, code).toBeGreaterThanOrEqual(400)
    expect([retryable, null], code).toContain(retryableByStatus(httpStatus))
  }
})

describe('FreshetError', () => {
  test('answers with code, message, retryable and details', () => {
    const cause = new Error('deeper')
    const error = new FreshetError('overloaded', 'the queue is full', { cause, details: { depth: 3 } })
    expect(error).toMatchObject({ name: 'FreshetError', httpStatus: 503, retryable: true, cause })
    expect(JSON.parse(JSON.stringify(error.toBody()))).toEqual({
      error: { code: 'overloaded', message: 'the queue is full', retryable: true, details: { depth: 3 } },
    })
  })

  test('leaves details out where there are none', () => {
    expect(new FreshetError('not-found', 'no such route').toBody()).toStrictEqual({
      error: { code: 'not-found', message: 'no such route', retryable: false },
    })
  })

  test.each<[string, unknown, ErrorCode, string]>([
    ['an error with a code', new FreshetError('timeout', 'too slow'), 'timeout', 'too slow'],
    ['an error', new TypeError('x is not a function'), 'internal', 'x is not a function'],
    ['a string', 'broken', 'internal', 'broken'],
    ['nothing', undefined, 'internal', 'undefined'],
  ])('%s thrown becomes one', (_name, thrown, code, message) => {
    expect(asFreshetError(thrown)).toMatchObject({ code, message })
  })
})

test.each(['toString', 'constructor', '', 1, null, undefined])('%j is no error code', value => {
  expect(isErrorCode(value)).toBe(false)
})
