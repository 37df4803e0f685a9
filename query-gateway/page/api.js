/**
 * @import { DetectAnswer, ItemState, SearchAnswer, SearchQuery, SearchRequest } from '../../schemas/http-search.ts'
 * @import { Status } from '../../schemas/http-operations.ts'
 */

/** Keeps all queries of this page on one generation. Not `randomUUID`, which plain HTTP within a home network lacks. */
const session = Array.from(crypto.getRandomValues(new Uint8Array(12)), byte => byte.toString(16).padStart(2, '0')).join(
  '',
)

/** What the server answered when it could not do what was asked, or that it did not answer. */
export class ApiError extends Error {
  /**
   * @param {string} code of schemas/errors.ts, or `unreachable`
   * @param {string} message
   * @param {boolean} retryable
   */
  constructor(code, message, retryable) {
    super(message)
    this.name = 'ApiError'
    this.code = code
    this.retryable = retryable
  }
}

/**
 * Finds the objects in a photo and stores it, so that later searches need only name it.
 * @param {Blob} photo
 * @param {AbortSignal} signal
 * @returns {Promise<DetectAnswer>}
 * @throws {ApiError}
 */
export function detect(photo, signal) {
  return answerOf('/v1/detect', { method: 'POST', body: photoForm(photo, { session }), signal })
}

/**
 * @param {SearchRequest} request
 * @param {AbortSignal} signal
 * @returns {Promise<SearchAnswer>}
 * @throws {ApiError}
 */
export function search(request, signal) {
  const headers = { 'content-type': 'application/json' }
  return answerOf('/v1/search', { method: 'POST', body: JSON.stringify({ ...request, session }), headers, signal })
}

/**
 * Searches with the photo's bytes, for when the server keeps no copy of it.
 * @param {Blob} photo
 * @param {SearchQuery} query
 * @param {AbortSignal} signal
 * @returns {Promise<SearchAnswer>}
 * @throws {ApiError}
 */
export function searchUpload(photo, query, signal) {
  return answerOf('/v1/search', { method: 'POST', body: photoForm(photo, { ...query, session }), signal })
}

/**
 * Tells that a person followed a result. Nothing waits for it, and nothing breaks without it.
 * @param {string} queryId
 * @param {string} itemId
 * @param {number} position of the result, from 0
 */
export function sendClick(queryId, itemId, position) {
  const body = JSON.stringify({ engagements: [{ queryId, itemId, action: 'click', position }] })
  navigator.sendBeacon('/v1/engagements', new Blob([body], { type: 'application/json' }))
}

/**
 * @param {AbortSignal} signal
 * @returns {Promise<Status>}
 * @throws {ApiError}
 */
export function status(signal) {
  return answerOf('/v1/status', { signal })
}

/**
 * @param {string} itemId
 * @param {AbortSignal} signal
 * @returns {Promise<ItemState>}
 * @throws {ApiError}
 */
export function item(itemId, signal) {
  return answerOf(`/v1/items/${encodeURIComponent(itemId)}`, { signal })
}

/**
 * Addresses of the demo's room photos.
 * @param {AbortSignal} signal
 * @returns {Promise<readonly string[]>}
 * @throws {ApiError} `not-found` when this server runs no demo
 */
export function samples(signal) {
  return answerOf('/samples/index.json', { signal })
}

/**
 * @param {string} address one of `samples`
 * @param {AbortSignal} signal
 * @returns {Promise<Blob>}
 * @throws {ApiError}
 */
export function sample(address, signal) {
  return reaching(async () => (await fetch(address, { signal })).blob())
}

/**
 * Address of a product's picture: the stored copy that its vectors were made from, where it is known.
 * @param {string} itemId
 * @param {string | null} blob `blob:<sha256>`
 */
export function pictureAddress(itemId, blob) {
  if (blob === null) return `/v1/items/${encodeURIComponent(itemId)}/image`
  return `/v1/blobs/${blob.replace(/^blob:/, '')}`
}

/**
 * @param {Blob} photo
 * @param {object} query
 */
function photoForm(photo, query) {
  const form = new FormData()
  form.append('query', JSON.stringify(query))
  form.append('image', photo, 'photo')
  return form
}

/**
 * @param {string} path
 * @param {RequestInit} request
 * @returns {Promise<any>}
 */
async function answerOf(path, request) {
  const { response, body } = await reaching(async () => {
    const response = await fetch(path, request)
    const isJson = response.headers.get('content-type')?.includes('json') ?? false
    return { response, body: isJson ? await response.json() : null }
  })
  if (response.ok && body !== null) return body
  const error = body?.error
  if (typeof error?.code === 'string') throw new ApiError(error.code, error.message, error.retryable === true)
  if (response.status === 404) throw new ApiError('not-found', 'There is no such address on this server.', false)
  throw new ApiError('internal', `The server answered ${response.status} without saying why.`, response.status >= 500)
}

/**
 * A call that the page gave up rejects as it does; one that the network or the server broke is `unreachable`.
 * @template Answer
 * @param {() => Promise<Answer>} call
 * @returns {Promise<Answer>}
 */
async function reaching(call) {
  try {
    return await call()
  } catch (cause) {
    if (cause instanceof DOMException && cause.name === 'AbortError') throw cause
    throw new ApiError('unreachable', 'The server does not answer.', true)
  }
}
