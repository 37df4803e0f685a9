import { answerOf, fileOf, reach, reaching } from './request.js'

/**
 * @import { Accepted, Engagement, ItemBody, Receipt, StoredBlob } from '../../schemas/http-items.ts'
 * @import { LiveEvent, Status } from '../../schemas/http-operations.ts'
 * @import { DetectAnswer, ItemState, SearchAnswer, SearchQuery, SearchRequest } from '../../schemas/http-search.ts'
 */

const quickMs = 10_000
const statusWithinMs = 5_000
const uploadWithinMs = 120_000
const json = { 'content-type': 'application/json' }

/** Keeps all queries of this page on one generation. Not `randomUUID`, which plain HTTP within a home network lacks. */
const session = randomHex(12)

/** @param {number} bytes */
export function randomHex(bytes) {
  return Array.from(crypto.getRandomValues(new Uint8Array(bytes)), byte => byte.toString(16).padStart(2, '0')).join('')
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
  const body = JSON.stringify({ ...request, session })
  return answerOf('/v1/search', { method: 'POST', body, headers: json, signal })
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
 * Tells what a person did with results. Nothing waits for it, and nothing breaks without it: it goes out even while
 * the page is left, and what the server does not take is lost.
 * @param {readonly Engagement[]} engagements
 */
export function sendEngagements(engagements) {
  if (engagements.length === 0) return
  const body = JSON.stringify({ engagements })
  const call = { method: 'POST', body, headers: json, keepalive: true, inBackground: true, timeoutMs: quickMs }
  reach('/v1/engagements', call).catch(() => {})
}

/**
 * @returns {Promise<Status>}
 * @throws {ApiError}
 */
export function status() {
  return answerOf('/v1/status', { timeoutMs: statusWithinMs, inBackground: true })
}

/**
 * News of the index as they come, until the stream ends or breaks.
 * @param {AbortSignal} signal
 * @returns {AsyncGenerator<LiveEvent>}
 * @throws {ApiError}
 */
export async function* liveEvents(signal) {
  const { body } = await reach('/v1/events', { signal, timeoutMs: 2 ** 31 - 1, inBackground: true })
  if (body === null) return
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  for (;;) {
    const { value, done } = await reaching(() => reader.read())
    if (done) return
    text += value
    const events = text.split('\n\n')
    text = events.pop() ?? ''
    for (const event of events) {
      const data = /^data: (.*)$/m.exec(event)?.[1]
      if (data !== undefined) yield JSON.parse(data)
    }
  }
}

/**
 * @param {string} itemId
 * @param {AbortSignal} [signal]
 * @returns {Promise<ItemState>}
 * @throws {ApiError}
 */
export function item(itemId, signal) {
  return answerOf(itemPath(itemId), { timeoutMs: quickMs, ...(signal && { signal }) })
}

/**
 * Stores a picture for items that name it.
 * @param {Blob} photo
 * @param {AbortSignal} signal
 * @returns {Promise<StoredBlob>}
 * @throws {ApiError}
 */
export function putBlob(photo, signal) {
  const headers = { 'content-type': 'application/octet-stream' }
  return answerOf('/v1/blobs', { method: 'PUT', body: photo, headers, signal, timeoutMs: uploadWithinMs })
}

/**
 * Accepts an item; the receipt tells when it can be found.
 * @param {string} itemId
 * @param {ItemBody} body
 * @param {AbortSignal} signal
 * @returns {Promise<Accepted>}
 * @throws {ApiError}
 */
export function publish(itemId, body, signal) {
  return answerOf(itemPath(itemId), { method: 'PUT', body: JSON.stringify(body), headers: json, signal })
}

/**
 * @param {string} itemId
 * @param {AbortSignal} signal
 * @returns {Promise<Accepted>}
 * @throws {ApiError}
 */
export function remove(itemId, signal) {
  return answerOf(itemPath(itemId), { method: 'DELETE', signal })
}

/**
 * @param {string} receipt
 * @param {AbortSignal} signal
 * @returns {Promise<Receipt>}
 * @throws {ApiError}
 */
export function receiptOf(receipt, signal) {
  return answerOf(`/v1/receipts/${encodeURIComponent(receipt)}`, { signal, timeoutMs: quickMs })
}

/**
 * Addresses of the demo's room photos.
 * @returns {Promise<readonly string[]>}
 * @throws {ApiError} `not-found` when this server runs no demo
 */
export function samples() {
  return answerOf('/samples/index.json', { timeoutMs: quickMs, inBackground: true })
}

/**
 * A picture of this server by its address.
 * @param {string} address
 * @param {AbortSignal} [signal]
 * @returns {Promise<Blob>}
 * @throws {ApiError}
 */
export function pictureFile(address, signal) {
  return fileOf(address, { timeoutMs: quickMs, inBackground: true, ...(signal && { signal }) })
}

/**
 * Address of a product's picture: the stored copy that its vectors were made from, where it is known.
 * @param {string} itemId
 * @param {string | null} blob `blob:<sha256>`
 */
export function pictureAddress(itemId, blob) {
  if (blob === null) return `${itemPath(itemId)}/image`
  return `/v1/blobs/${blob.replace(/^blob:/, '')}`
}

/** @param {string} itemId */
function itemPath(itemId) {
  return `/v1/items/${encodeURIComponent(itemId)}`
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
