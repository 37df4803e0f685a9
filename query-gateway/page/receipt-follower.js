import { receiptOf } from './api.js'
import { ApiError } from './request.js'

/** @import { Receipt } from '../../schemas/http-items.ts' */

const oftenForMs = 3000
const oftenMs = 120
const seldomMs = 500
/** Between two questions that the server could not answer. */
const troubleMs = 2000
const finalStatuses = new Set(['searchable', 'removed', 'superseded', 'failed'])

/**
 * Asks what became of an event until that is decided. A server that is away or busy meanwhile is asked again.
 * @param {string} receipt
 * @param {AbortSignal} signal
 * @param {(state: Receipt) => void} told at every answer, the last one too
 * @returns {Promise<Receipt>} the last one
 * @throws {ApiError} one that asking again cannot mend
 */
export async function followReceipt(receipt, signal, told) {
  const startedAtMs = performance.now()
  for (;;) {
    const state = await ask(receipt, signal)
    if (state !== null) {
      told(state)
      if (finalStatuses.has(state.status)) return state
    }
    const isEarly = performance.now() - startedAtMs < oftenForMs
    await pause(state === null ? troubleMs : isEarly ? oftenMs : seldomMs)
    signal.throwIfAborted()
  }
}

/**
 * Time from the moment the event was accepted to the one when the slowest replica that matters had it, by the
 * server's clock.
 * @param {Receipt} receipt
 * @returns {number | null} null when the server does not remember
 */
export function tookMs({ acceptedAtMs, generations }) {
  const times = generations
    .filter(({ share }) => share > 0)
    .flatMap(({ replicas }) => replicas.filter(({ status }) => status !== 'unreachable').map(({ atMs }) => atMs))
  if (times.length === 0 || times.includes(null)) return null
  return Math.max(0, ...times.map(atMs => (atMs ?? 0) - acceptedAtMs))
}

/**
 * @param {string} receipt
 * @param {AbortSignal} signal
 * @returns {Promise<Receipt | null>} null when it is worth asking again
 */
async function ask(receipt, signal) {
  try {
    return await receiptOf(receipt, signal)
  } catch (error) {
    if (error instanceof ApiError && error.retryable) return null
    throw error
  }
}

/** @param {number} ms */
function pause(ms) {
  return new Promise(resolve => setTimeout(resolve, ms))
}
