import { type LookupAddress, lookup as resolveName } from 'node:dns'
import { isIP, type LookupFunction } from 'node:net'
import { Agent, type Dispatcher, errors, request } from 'undici'
import { FreshetError } from '../schemas/errors.ts'
import { type HostTrouble, ImageHosts } from './image-hosts.ts'
import { signatureBytes, sniffPicture } from './preprocess/picture-format.ts'
import { isPublicAddress } from './public-address.ts'

export interface HttpImagesOptions {
  /** Monotonic ms. */
  readonly clock: () => number
  /** Private addresses and any port are allowed; for catalogues on an internal network. Default false. */
  readonly allowPrivateHosts?: boolean
  /** Ports allowed where private hosts are not. Default 80 and 443. */
  readonly ports?: readonly number[]
  /** Which addresses count as public where private hosts are not allowed. Default `isPublicAddress`. */
  readonly isPublic?: (address: string) => boolean
  /** Default 32 MiB. */
  readonly maxBytes?: number
  /** From the first byte asked to the last received, redirects included. Default 15 s. */
  readonly totalMs?: number
  /** Default 4. */
  readonly maxPerHost?: number
}

export type HttpImage<Stored> =
  | { readonly type: 'unchanged' }
  /** Etag as the host sent it; empty when it sent none. */
  | { readonly type: 'fetched'; readonly stored: Stored; readonly etag: string }

export interface HttpImageCall<Stored> {
  /** Asks only for what differs from this; empty to ask for the bytes in any case. */
  readonly etag: string
  readonly signal?: AbortSignal
  readonly store: (chunks: AsyncIterable<Uint8Array>) => Promise<Stored>
}

/** What ends one request: the caller or the time. */
interface Ends {
  readonly any: AbortSignal
  readonly timeout: AbortSignal
}

/** What is left of a picture's time, over all hosts it leads to; waiting for a busy host does not count. */
interface Allowance {
  ms: number
}

type Hop<Stored> = HttpImage<Stored> | { readonly type: 'redirect'; readonly to: URL }

const maxRedirects = 5
const maxWaitingPerHost = 256
const longestRetryAfterMs = 5 * 60_000
const redirects = new Set([301, 302, 303, 307, 308])

/**
 * Fetches images from hosts nobody vouches for. Addresses are judged where the connection is made, from the very
 * answer of the name server that is connected to, for each redirect again; so neither a redirect nor a name that
 * changes its address leads inside.
 */
export class HttpImages {
  readonly maxBytes: number
  readonly #options: HttpImagesOptions
  readonly #isPublic: (address: string) => boolean
  readonly #hosts: ImageHosts
  readonly #agent: Agent

  constructor(options: HttpImagesOptions) {
    this.#options = options
    this.#isPublic = options.isPublic ?? isPublicAddress
    this.maxBytes = options.maxBytes ?? 32 * 1024 ** 2
    const { clock, maxPerHost = 4 } = options
    this.#hosts = new ImageHosts({ maxPerHost, maxWaitingPerHost, clock })
    this.#agent = new Agent({
      connect: { timeout: 5_000, lookup: options.allowPrivateHosts ? resolveName : publicLookup(this.#isPublic) },
      headersTimeout: 10_000,
      bodyTimeout: 5_000,
      connections: maxPerHost,
      pipelining: 1,
    })
  }

  /**
   * Gives the picture's bytes to `store` as they come, never more than `maxBytes`.
   * @throws FreshetError image-* codes; the signal's reason when it fires
   */
  async fetch<Stored>(reference: string, call: HttpImageCall<Stored>): Promise<HttpImage<Stored>> {
    let url = parseUrl(reference)
    const left: Allowance = { ms: this.#options.totalMs ?? 15_000 }
    for (let hop = 0; hop <= maxRedirects; hop++) {
      this.#refuseForbidden(url)
      const here = url
      const outcome = await this.#hosts.visit(here.host, () => this.#timed(here, call, left), troubleOf)
      if (outcome.type !== 'redirect') return outcome
      url = outcome.to
    }
    throw new FreshetError('image-too-many-redirects', `${reference} redirects more than ${maxRedirects} times`)
  }

  async close(): Promise<void> {
    await this.#agent.destroy()
  }

  #refuseForbidden(url: URL): void {
    if (url.protocol !== 'http:' && url.protocol !== 'https:')
      throw new FreshetError('image-scheme', `a redirect leads to ${url.protocol}`)
    if (url.username !== '' || url.password !== '')
      throw new FreshetError('image-not-allowed', 'an image URL may not hold a user name or password')
    if (this.#options.allowPrivateHosts) return
    const port = Number(url.port || (url.protocol === 'https:' ? 443 : 80))
    if (!(this.#options.ports ?? [80, 443]).includes(port))
      throw new FreshetError('image-not-allowed', `port ${port} of ${url.hostname} is not allowed`)
    // A literal address is connected to without a look-up. Decimal, octal and short forms are dotted ones by now.
    const literal = url.hostname.replace(/^\[|\]$/g, '')
    if (isIP(literal) !== 0 && !this.#isPublic(literal)) throw privateAddress(url.hostname)
  }

  async #timed<Stored>(url: URL, call: HttpImageCall<Stored>, left: Allowance): Promise<Hop<Stored>> {
    const beganAtMs = performance.now()
    const timeout = AbortSignal.timeout(Math.max(0, Math.ceil(left.ms)))
    const any = call.signal ? AbortSignal.any([call.signal, timeout]) : timeout
    try {
      return await this.#ask(url, call, { any, timeout })
    } catch (thrown) {
      call.signal?.throwIfAborted()
      throw fetchError(url, thrown, timeout.aborted)
    } finally {
      left.ms -= performance.now() - beganAtMs
    }
  }

  async #ask<Stored>(url: URL, call: HttpImageCall<Stored>, ends: Ends): Promise<Hop<Stored>> {
    const response = await request(url, {
      dispatcher: this.#agent,
      signal: ends.any,
      headers: {
        accept: 'image/avif,image/webp,image/png,image/jpeg,image/gif,image/tiff',
        'accept-encoding': 'identity',
        'user-agent': 'freshet',
        ...(call.etag === '' ? {} : { 'if-none-match': call.etag }),
      },
    })
    const { statusCode, body } = response
    if (statusCode === 200) {
      const stored = await call.store(this.#pictureChunks(url, response, ends))
      return { type: 'fetched', stored, etag: headerOf(response, 'etag') }
    }
    await body.dump({ limit: 16_384, signal: ends.any })
    if (statusCode === 304 && call.etag !== '') return { type: 'unchanged' }
    const location = headerOf(response, 'location')
    if (redirects.has(statusCode) && location !== '' && URL.canParse(location, url.href))
      return { type: 'redirect', to: new URL(location, url) }
    throw statusError(url, response)
  }

  /** The body's chunks, from when they are known to begin like a picture, to the limit of bytes. */
  async *#pictureChunks(url: URL, response: Dispatcher.ResponseData, ends: Ends): AsyncGenerator<Uint8Array> {
    const announced = Number(headerOf(response, 'content-length') || 0)
    let head: Uint8Array | null = new Uint8Array(0)
    let bytes = 0
    try {
      for await (const chunk of response.body as AsyncIterable<Uint8Array>) {
        bytes += chunk.length
        if (Math.max(announced, bytes) > this.maxBytes)
          throw new FreshetError('image-too-large', `${url.host} sends more than ${this.maxBytes} bytes`)
        if (head === null) {
          yield chunk
          continue
        }
        head = Buffer.concat([head, chunk])
        if (head.length < signatureBytes) continue
        yield beginningLikeAPicture(url, head)
        head = null
      }
    } catch (thrown) {
      throw fetchError(url, thrown, ends.timeout.aborted)
    }
    if (head !== null && head.length > 0) yield beginningLikeAPicture(url, head)
  }
}

function beginningLikeAPicture(url: URL, head: Uint8Array): Uint8Array {
  if (sniffPicture(head) !== null) return head
  throw new FreshetError('image-format', `${url.host} sends something that is not a picture of a known format`)
}

function parseUrl(reference: string): URL {
  if (URL.canParse(reference)) return new URL(reference)
  throw new FreshetError('image-scheme', 'the image reference is not a URL')
}

/** Looks a name up and passes on its public addresses only. */
function publicLookup(isPublic: (address: string) => boolean): LookupFunction {
  return (hostname, options, callback) => {
    resolveName(hostname, { ...options, all: true }, (error, addresses) => {
      if (error) return callback(error, '', 0)
      const allowed = addresses.filter(({ address }) => isPublic(address))
      const [first] = allowed
      if (first === undefined) return callback(privateAddress(hostname), '', 0)
      if (options.all) return (callback as unknown as (error: null, all: LookupAddress[]) => void)(null, allowed)
      return callback(null, first.address, first.family)
    })
  }
}

function privateAddress(host: string): FreshetError {
  return new FreshetError('image-private-address', `${host} is not at a public address`)
}

function statusError(url: URL, response: Dispatcher.ResponseData): FreshetError {
  const { statusCode } = response
  const message = `${url.host} answers ${statusCode}`
  if (statusCode === 404 || statusCode === 410) return new FreshetError('image-not-found', message)
  const isBusy = statusCode >= 500 || statusCode === 429 || statusCode === 408
  if (!isBusy) return new FreshetError('image-refused', message)
  const wholeHost = statusCode === 429 || statusCode === 503
  const retryAfterMs = retryAfter(headerOf(response, 'retry-after'))
  return new FreshetError('image-host-busy', message, { details: { wholeHost, retryAfterMs } })
}

/** Seconds or an HTTP date, as ms from now, capped; 0 when absent. A date counts from the host's own clock. */
function retryAfter(value: string): number {
  const seconds = Number(value)
  return Number.isFinite(seconds) ? Math.min(longestRetryAfterMs, Math.max(0, seconds * 1000)) : 0
}

function troubleOf(thrown: unknown): HostTrouble | null {
  if (!(thrown instanceof FreshetError)) return null
  if (thrown.code === 'image-timeout' || thrown.code === 'image-host-unreachable') return { pauseMs: 0 }
  const details = thrown.details as { wholeHost?: boolean; retryAfterMs?: number } | undefined
  return thrown.code === 'image-host-busy' && details?.wholeHost ? { pauseMs: details.retryAfterMs ?? 0 } : null
}

function fetchError(url: URL, thrown: unknown, timedOut: boolean): FreshetError {
  const known = [thrown, thrown instanceof Error ? thrown.cause : null].find(one => one instanceof FreshetError)
  if (known instanceof FreshetError) return known
  const tooSlow =
    timedOut ||
    thrown instanceof errors.HeadersTimeoutError ||
    thrown instanceof errors.BodyTimeoutError ||
    thrown instanceof errors.ConnectTimeoutError
  if (tooSlow) return new FreshetError('image-timeout', `${url.host} was too slow`, { cause: thrown })
  const reason = thrown instanceof Error ? thrown.message : String(thrown)
  return new FreshetError('image-host-unreachable', `${url.host}: ${reason}`, { cause: thrown })
}

function headerOf(response: Dispatcher.ResponseData, name: string): string {
  const value = response.headers[name]
  return (Array.isArray(value) ? value[0] : value) ?? ''
}
