import { createHash, type Hash } from 'node:crypto'
import { createReadStream } from 'node:fs'
import { mkdir, open, rename, rm, stat, writeFile } from 'node:fs/promises'
import { join } from 'node:path'
import { setTimeout as pause } from 'node:timers/promises'
import { request } from 'undici'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import { type ModelManifest, partsOf, readModelManifest, setOf } from './model-manifest.ts'

export interface ModelDownloadOptions {
  /** Of `manifest.json`; its files lie beside it. */
  readonly url: string
  /** Set to fetch; may be left out where the manifest has one only. */
  readonly name?: string | undefined
  /** Gets the manifest and the files of the set. */
  readonly directory: string
  /** Keeps what was fetched of files that are not whole, by digest: a later call goes on there. */
  readonly partialDirectory: string
  readonly signal?: AbortSignal
  readonly onProgress?: (progress: DownloadProgress) => void
}

export interface DownloadProgress {
  readonly file: string
  readonly bytes: number
  /** As the server says; null when it does not. */
  readonly totalBytes: number | null
}

const manifestMaxBytes = 2 ** 20
const fileMaxBytes = 8 * 2 ** 30
const attempts = 5
const firstPauseMs = 200
const idleMs = 30_000

/**
 * Fetches a model set from a web server: manifest, files, goldens. Files that broke off are resumed, also by a later
 * call, and are believed by their SHA-256 alone. Returns the name of the set.
 * @throws FreshetError `model-unavailable` when the server does not give it; `model-invalid` when what it gives is not
 * what the manifest says
 */
export async function downloadModel(options: ModelDownloadOptions): Promise<string> {
  const { url, directory, partialDirectory } = options
  await mkdir(directory, { recursive: true })
  await mkdir(partialDirectory, { recursive: true })
  await writeFile(join(directory, 'manifest.json'), await small(url, options.signal))
  const manifest = await readModelManifest(directory)
  const name = chosenSet(manifest, options.name)
  const parts = partsOf(setOf(manifest, name))
  for (const { file, sha256 } of parts) await fetchFile(file, sha256, options)
  const goldens = new Map(
    parts.flatMap(part => part.golden).flatMap(({ input, fileSha256 }) => (fileSha256 ? [[input, fileSha256]] : [])),
  )
  if (goldens.size > 0) await mkdir(join(directory, 'golden'), { recursive: true })
  for (const [input, sha256] of goldens) await fetchFile(`golden/${input.split('/').at(-1)!}`, sha256, options)
  return name
}

/** The one asked for, or the only one. @throws FreshetError `model-invalid` when there are several */
export function chosenSet({ sets }: ModelManifest, asked: string | undefined): string {
  const known = Object.keys(sets)
  if (asked !== undefined || known.length === 1) return asked ?? known[0]!
  throw new FreshetError('model-invalid', `the manifest has ${known.join(', ')}: say which one`)
}

async function small(url: string, signal: AbortSignal | undefined): Promise<Buffer> {
  return retried(async () => {
    const { statusCode, body } = await ask(url, {}, signal)
    if (statusCode !== 200) throw await refused(url, statusCode, body)
    const pieces: Buffer[] = []
    let bytes = 0
    for await (const piece of body) {
      bytes += (piece as Buffer).length
      if (bytes > manifestMaxBytes) throw new FreshetError('model-invalid', `${url} is larger than a manifest may be`)
      pieces.push(piece as Buffer)
    }
    return Buffer.concat(pieces)
  }, signal)
}

async function fetchFile(file: string, sha256: string, options: ModelDownloadOptions): Promise<void> {
  const { url, directory, partialDirectory, signal } = options
  const partial = join(partialDirectory, sha256)
  const address = new URL(file.split('/').map(encodeURIComponent).join('/'), url).href
  await retried(() => fetchRest(address, partial, { file, signal, onProgress: options.onProgress }), signal)
  const actual = await digestOf(partial)
  if (actual !== sha256) {
    // Whatever is wrong with it, going on from it would not mend it.
    await rm(partial, { force: true })
    throw new FreshetError('model-invalid', `${address} has the SHA-256 ${actual}, its manifest says ${sha256}`)
  }
  await rename(partial, join(directory, file))
}

interface RestOptions {
  readonly file: string
  readonly signal: AbortSignal | undefined
  readonly onProgress: ModelDownloadOptions['onProgress']
}

/** Appends to what is there; a server that does not know ranges begins anew. */
async function fetchRest(url: string, partial: string, { file, signal, onProgress }: RestOptions): Promise<void> {
  const have = (await stat(partial).catch(() => null))?.size ?? 0
  const { statusCode, headers, body } = await ask(url, have > 0 ? { range: `bytes=${have}-` } : {}, signal)
  if (statusCode === 416) {
    // It is whole, or it is not the beginning of what the server has: the digest tells.
    await body.dump()
    return
  }
  if (statusCode !== 200 && statusCode !== 206) throw await refused(url, statusCode, body)
  const isRest = statusCode === 206 && String(headers['content-range']).startsWith(`bytes ${have}-`)
  let bytes = isRest ? have : 0
  const length = Number(headers['content-length'])
  const totalBytes = Number.isFinite(length) ? bytes + length : null
  const handle = await open(partial, isRest ? 'a' : 'w')
  try {
    for await (const piece of body) {
      await handle.write(piece as Buffer)
      bytes += (piece as Buffer).length
      if (bytes > fileMaxBytes) throw new FreshetError('model-invalid', `${url} is larger than a model may be`)
      onProgress?.({ file, bytes, totalBytes })
    }
  } finally {
    await handle.close()
  }
  if (totalBytes !== null && bytes < totalBytes)
    throw new FreshetError('model-unavailable', `${url} broke off at ${bytes} of ${totalBytes} bytes`)
}

type Answer = Awaited<ReturnType<typeof request>>

const mostRedirects = 5

async function ask(url: string, headers: Record<string, string>, signal: AbortSignal | undefined): Promise<Answer> {
  let address = url
  for (let redirects = 0; redirects <= mostRedirects; redirects++) {
    const answer = await asked(address, headers, signal)
    const { location } = answer.headers
    if (![301, 302, 303, 307, 308].includes(answer.statusCode) || typeof location !== 'string') return answer
    await answer.body.dump()
    address = new URL(location, address).href
    if (!/^https?:/.test(address)) break
  }
  throw new FreshetError('model-unavailable', `${url} is redirected too often, or to another protocol`)
}

async function asked(url: string, headers: Record<string, string>, signal: AbortSignal | undefined): Promise<Answer> {
  try {
    return await request(url, {
      headers: { ...headers, 'accept-encoding': 'identity' },
      headersTimeout: idleMs,
      bodyTimeout: idleMs,
      ...(signal === undefined ? {} : { signal }),
    })
  } catch (cause) {
    signal?.throwIfAborted()
    throw new FreshetError('model-unavailable', `${url} does not answer`, { cause })
  }
}

/** Tried again unless the answer says that it will not change. */
async function refused(url: string, statusCode: number, body: Answer['body']): Promise<FreshetError> {
  await body.dump()
  const mayPass = statusCode === 408 || statusCode === 429 || statusCode >= 500
  const text = `${url} answered ${statusCode}`
  return mayPass ? new FreshetError('model-unavailable', text) : new FreshetError('model-invalid', text)
}

async function retried<T>(act: () => Promise<T>, signal: AbortSignal | undefined): Promise<T> {
  for (let attempt = 1; ; attempt++) {
    try {
      return await act()
    } catch (thrown) {
      signal?.throwIfAborted()
      const error = thrown instanceof FreshetError ? thrown : brokenOff(thrown)
      if (error.code !== 'model-unavailable' || attempt === attempts) throw error
      await pause(firstPauseMs * 2 ** (attempt - 1), undefined, { signal })
    }
  }
}

function brokenOff(thrown: unknown): FreshetError {
  const { message } = asFreshetError(thrown)
  return new FreshetError('model-unavailable', `the connection broke: ${message}`, { cause: thrown })
}

async function digestOf(path: string): Promise<string> {
  const hash: Hash = createHash('sha256')
  for await (const piece of createReadStream(path)) hash.update(piece as Buffer)
  return hash.digest('hex')
}
