import { ApiError, answerOf, fileOf, reach, reaching } from './request.js'

/**
 * @import { BuildAnswer, BuildRequest, GenerationDetail, GenerationStep, GenerationView, ModelList, ProofResult, StepAnswer, StepProgress } from '../../schemas/http-generations.ts'
 * @import { Quality } from '../../schemas/http-operations.ts'
 */

const quickMs = 10_000
/** A certificate waits for what lags, and a canary asks hundreds of questions. */
const proofWithinMs = 60 * 60_000
const post = { method: 'POST', headers: { 'content-type': 'application/json' } }

/**
 * In order of their start, retired ones too.
 * @returns {Promise<readonly GenerationView[]>}
 * @throws {ApiError}
 */
export async function generations() {
  return (await answerOf('/v1/admin/generations', { timeoutMs: quickMs })).generations
}

/**
 * One with its history.
 * @param {string} id
 * @returns {Promise<GenerationDetail>}
 * @throws {ApiError}
 */
export function generation(id) {
  return answerOf(pathOf(id), { timeoutMs: quickMs })
}

/**
 * @returns {Promise<ModelList['models']>}
 * @throws {ApiError}
 */
export async function models() {
  return (await answerOf('/v1/admin/models', { timeoutMs: quickMs })).models
}

/**
 * How the searches of each went.
 * @returns {Promise<Quality>}
 * @throws {ApiError}
 */
export function quality() {
  return answerOf('/v1/quality', { timeoutMs: quickMs, inBackground: true })
}

/**
 * @param {BuildRequest} request
 * @returns {Promise<BuildAnswer>}
 * @throws {ApiError}
 */
export function build(request) {
  return answerOf('/v1/admin/generations', { ...post, body: JSON.stringify(request) })
}

/**
 * @param {string} id
 * @param {GenerationStep} step
 * @param {{ reason: string, share?: number, override?: string, force?: boolean }} request
 * @returns {Promise<StepAnswer>}
 * @throws {ApiError}
 */
export function takeStep(id, step, request) {
  return answerOf(`${pathOf(id)}/${step}`, { ...post, body: JSON.stringify(request) })
}

/**
 * Verifies it or runs its canary. A verdict that is no is a result too.
 * @param {string} id
 * @param {'verify' | 'canary'} step
 * @param {object} options
 * @param {string} options.reason
 * @param {AbortSignal} options.signal ends it; nothing is recorded then
 * @param {(progress: StepProgress) => void} options.progressed
 * @returns {Promise<ProofResult>}
 * @throws {ApiError}
 */
export async function prove(id, step, { reason, signal, progressed }) {
  const call = { ...post, body: JSON.stringify({ reason }), signal, timeoutMs: proofWithinMs }
  const { body } = await reach(`${pathOf(id)}/${step}`, call)
  for await (const line of linesOf(body)) {
    if (line.error !== undefined) throw new ApiError(line.error.code, line.error.message, line.error.retryable)
    if (line.result !== undefined) return line.result
    progressed(line.progress)
  }
  throw new ApiError('unreachable', 'The answer broke off: nothing was recorded.', true)
}

/**
 * The document behind a certificate or a canary, as text.
 * @param {string} id
 * @param {string} digest
 * @returns {Promise<string>}
 * @throws {ApiError}
 */
export async function evidence(id, digest) {
  return (await fileOf(`${pathOf(id)}/evidence/${digest}`, { timeoutMs: quickMs })).text()
}

/** @param {ReadableStream<Uint8Array<ArrayBuffer>> | null} body a JSON value a line */
async function* linesOf(body) {
  if (body === null) return
  const reader = body.pipeThrough(new TextDecoderStream()).getReader()
  let text = ''
  for (;;) {
    const { value, done } = await reaching(() => reader.read())
    text += value ?? ''
    const lines = text.split('\n')
    text = done ? '' : (lines.pop() ?? '')
    for (const line of lines) if (line !== '') yield JSON.parse(line)
    if (done) return
  }
}

/** @param {string} id */
function pathOf(id) {
  return `/v1/admin/generations/${encodeURIComponent(id)}`
}
