import { currentKey, keyHeaders, obtainKey } from './api-key.js'

/** Above the longest deadline that a search may have on the server. */
const answerWithinMs = 65_000

/**
 * @typedef {object} Call
 * @property {string} [method]
 * @property {BodyInit} [body]
 * @property {Record<string, string>} [headers]
 * @property {AbortSignal} [signal] gives the call up
 * @property {number} [timeoutMs] of one attempt
 * @property {boolean} [keepalive] goes out even while the page is left
 * @property {boolean} [inBackground] nobody waits for it, so nobody is asked for a key a second time
 */

/** What the server answered when it could not do what was asked, or that it did not answer. */
export class ApiError extends Error {
  /**
   * @param {string} code of schemas/errors.ts, or `unreachable`
   * @param {string} message
   * @param {boolean} retryable
   * @param {number | null} retryAfterMs when the server wants to be asked again, where it says so
   */
  constructor(code, message, retryable, retryAfterMs = null) {
    super(message)
    this.name = 'ApiError'
    this.code = code
    this.retryable = retryable
    this.retryAfterMs = retryAfterMs
  }
}

/**
 * The JSON that the server answers.
 * @param {string} path
 * @param {Call} [call]
 * @returns {Promise<any>}
 * @throws {ApiError}
 */
export async function answerOf(path, call = {}) {
  const response = await reach(path, call)
  const body = await reaching(() => response.json())
  if (body === null) throw new ApiError('internal', 'The server answered without content.', false)
  return body
}

/**
 * A file of the server, such as a picture.
 * @param {string} path
 * @param {Call} [call]
 * @returns {Promise<Blob>}
 * @throws {ApiError}
 */
export async function fileOf(path, call = {}) {
  const response = await reach(path, call)
  return reaching(() => response.blob())
}

/**
 * An answer with a good status; asks for a key where one is wanted.
 * @param {string} path
 * @param {Call} call
 * @returns {Promise<Response>}
 * @throws {ApiError}
 */
export async function reach(path, call) {
  const usedKey = currentKey()
  const response = await reaching(() => fetch(path, requestOf(call)))
  if (response.ok) return response
  const error = await failureOf(response)
  if (response.status !== 401) throw error
  const goesOn = await obtainKey(usedKey, { inBackground: call.inBackground ?? false })
  call.signal?.throwIfAborted()
  if (!goesOn) throw error
  return reach(path, call)
}

/** @param {Call} call */
function requestOf({ method, body, headers, signal, timeoutMs = answerWithinMs, keepalive }) {
  const timeout = AbortSignal.timeout(timeoutMs)
  return {
    ...(method !== undefined && { method }),
    ...(body !== undefined && { body }),
    ...(keepalive !== undefined && { keepalive }),
    headers: { ...headers, ...keyHeaders() },
    signal: signal === undefined ? timeout : AbortSignal.any([signal, timeout]),
  }
}

/**
 * @param {Response} response
 * @returns {Promise<ApiError>}
 */
async function failureOf(response) {
  const isJson = response.headers.get('content-type')?.includes('json') ?? false
  const error = isJson ? (await reaching(() => response.json()))?.error : null
  const retryAfterMs = retryAfterOf(response)
  if (typeof error?.code === 'string')
    return new ApiError(error.code, error.message, error.retryable === true, retryAfterMs)
  if (response.status === 404) return new ApiError('not-found', 'There is no such address on this server.', false)
  const message = `The server answered ${response.status} without saying why.`
  return new ApiError('internal', message, response.status >= 500, retryAfterMs)
}

/** @param {Response} response */
function retryAfterOf(response) {
  const seconds = Number(response.headers.get('retry-after') ?? Number.NaN)
  return Number.isFinite(seconds) && seconds >= 0 ? seconds * 1000 : null
}

/**
 * A call that the page gave up rejects as it does; one that the network or the server broke is `unreachable`.
 * @template Answer
 * @param {() => Promise<Answer>} call
 * @returns {Promise<Answer>}
 */
export async function reaching(call) {
  try {
    return await call()
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause
    if (cause instanceof DOMException && cause.name === 'TimeoutError')
      throw new ApiError('timeout', 'The server takes too long to answer.', true)
    throw new ApiError('unreachable', 'The server does not answer.', true)
  }
}
