import { type Span, SpanKind } from '@opentelemetry/api'
import { type Dispatcher, Pool } from 'undici'
import { wireHeaders } from '../../schemas/shard-wire.ts'
import { traceHeadersOf } from '../../schemas/trace-context.ts'
import { inChildSpan } from '../../schemas/trace-span.ts'
import { distrusted, failureOf } from './distrust.ts'

/** How gateways reach replicas; the same for all of them. */
export interface RemoteReplicaSettings {
  /** Shown as bearer token; null where shards ask for none. */
  readonly secret: string | null
  /** What a shard with TLS is checked by, such as `ca`; its own certificate where the shard asks for one. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string; readonly servername?: string }
  /** Connections for calls to one replica that are no searches; calls beyond wait. */
  readonly connections: number
  /** Searches in hand at one process, on the one connection for them; those beyond wait. */
  readonly searchesInHand: number
  /** Of searches that a process does not read; with more its connection is given up. */
  readonly unreadMaxBytes: number
  /** Connections on which one replica is waited for, one per wait. */
  readonly waitingConnections: number
  readonly connectTimeoutMs: number
  /** A process that has been silent for so long is asked for a sign; without one as long, its connection is given up. */
  readonly silentMs: number
  /** How long a replica may work on one search; the caller's signal may end it before. */
  readonly searchTimeoutMs: number
  /** How long it may take to tell how it is, and what it knows of one item. */
  readonly lookupTimeoutMs: number
  /** Beyond the time a replica has, for the way there and back: then the answer is late. */
  readonly graceMs: number
  /** How long a replica is asked to wait for a change before it answers that there was none. */
  readonly waitMs: number
  /** A larger answer is refused. */
  readonly maxAnswerBytes: number
}

export const defaultRemoteReplicaSettings: RemoteReplicaSettings = {
  secret: null,
  connections: 64,
  searchesInHand: 256,
  unreadMaxBytes: 64 * 2 ** 20,
  waitingConnections: 256,
  connectTimeoutMs: 1_000,
  silentMs: 5_000,
  searchTimeoutMs: 10_000,
  lookupTimeoutMs: 2_000,
  graceMs: 1_000,
  waitMs: 5_000,
  maxAnswerBytes: 32 * 2 ** 20,
}

export interface ShardConnectionOptions {
  /** Origin of the replica's server. */
  readonly address: string
  /** The replica that is to answer, as `replicaTag` has it. */
  readonly tag: string
  readonly connections: number
  readonly settings: RemoteReplicaSettings
}

export interface ShardCall {
  readonly method: 'GET' | 'POST'
  readonly path: string
  readonly body?: string
  /** What the replica has. */
  readonly timeoutMs: number
  readonly signal?: AbortSignal | undefined
  /** Called once the answer has begun. */
  readonly onBegun?: () => void
}

/** Less than shards keep an idle connection: a call never finds it just being closed. */
const idleConnectionMs = 30_000

/** Calls to one replica over kept connections. Nothing is tried twice here: whom to ask next is the gateway's to say. */
export class ShardConnection {
  readonly #options: ShardConnectionOptions
  readonly #pool: Pool
  readonly #headers: Readonly<Record<string, string>>
  /** Of the spans of calls. */
  readonly #attributes: Readonly<Record<string, string | number>>
  #calls = 0

  constructor(options: ShardConnectionOptions) {
    const { address, connections, settings } = options
    const { secret, tls, connectTimeoutMs } = settings
    this.#options = options
    this.#pool = new Pool(address, {
      connections,
      pipelining: 1,
      allowH2: false,
      keepAliveMaxTimeout: idleConnectionMs,
      // Each call has one limit of its own for all of it.
      headersTimeout: 0,
      bodyTimeout: 0,
      connect: { ...tls, timeout: connectTimeoutMs },
    })
    this.#attributes = serverAttributes(address)
    this.#headers = { 'content-type': 'application/json', ...secretHeaders(secret) }
  }

  /**
   * The text of a good answer.
   * @throws FreshetError the replica's own; `replica-unavailable` when there is no answer that can be believed, with
   * `why` in the details; the signal's reason when it fires first
   */
  async ask(call: ShardCall): Promise<string> {
    call.signal?.throwIfAborted()
    const { method, path, signal } = call
    const attributes = { ...this.#attributes, 'http.request.method': method, 'url.path': path.split('?', 1)[0]! }
    return inChildSpan(`${method} shard`, { kind: SpanKind.CLIENT, attributes, signal }, span => this.#ask(call, span))
  }

  async #ask(call: ShardCall, span: Span | undefined): Promise<string> {
    const number = String(this.#calls++)
    const { tag, settings } = this.#options
    const exchange = new Exchange(call, { ...settings, tag, number })
    const { method, path, body, timeoutMs } = call
    const headers = {
      ...this.#headers,
      ...traceHeadersOf(span),
      [wireHeaders.timeoutMs]: String(timeoutMs),
      [wireHeaders.call]: number,
    }
    this.#pool.dispatch({ method, path, headers, body: body ?? null }, exchange)
    const { status, text } = await exchange.answer
    span?.setAttribute('http.response.status_code', status)
    if (status === 200) return text
    throw failureOf(text)
  }

  /** Calls in hand are finished; others fail. */
  close(): Promise<void> {
    return this.#pool.close()
  }

  /** Calls in hand fail. */
  destroy(): Promise<void> {
    return this.#pool.destroy(new Error('the gateway has let go of the replica'))
  }
}

interface Expected {
  readonly tag: string
  readonly number: string
  readonly graceMs: number
  readonly maxAnswerBytes: number
}

/** One request and its answer, collected while it is of whom it should be, in time and not too large. */
class Exchange implements Dispatcher.DispatchHandler {
  readonly answer: Promise<{ readonly status: number; readonly text: string }>
  readonly #settled = Promise.withResolvers<{ readonly status: number; readonly text: string }>()
  readonly #call: ShardCall
  readonly #expected: Expected
  readonly #timer: NodeJS.Timeout
  readonly #chunks: Buffer[] = []
  #controller: Dispatcher.DispatchController | null = null
  #status = 0
  #bytes = 0
  #isOver = false
  readonly #giveUp = (): void => this.#fail(this.#call.signal?.reason)

  constructor(call: ShardCall, expected: Expected) {
    this.#call = call
    this.#expected = expected
    this.answer = this.#settled.promise
    const limitMs = call.timeoutMs + expected.graceMs
    this.#timer = setTimeout(() => this.#fail(distrusted('late', `no answer in ${limitMs} ms`)), limitMs)
    call.signal?.addEventListener('abort', this.#giveUp, { once: true })
  }

  onRequestStart(controller: Dispatcher.DispatchController): void {
    if (this.#isOver) controller.abort(new Error('given up while waiting for a connection'))
    else this.#controller = controller
  }

  onResponseStart(_: Dispatcher.DispatchController, status: number, headers: Record<string, unknown>): void {
    const isInformational = status < 200
    if (isInformational || this.#isOver) return
    const { tag, number } = this.#expected
    const who = headers[wireHeaders.replica]
    if (headers[wireHeaders.call] !== number) this.#fail(distrusted('stray', 'the answer is to another call'))
    else if (status === 200 && who !== tag)
      this.#fail(distrusted('foreign', `${who ?? 'somebody'} answered for ${tag}`))
    else {
      this.#status = status
      this.#call.onBegun?.()
    }
  }

  onResponseData(_: Dispatcher.DispatchController, chunk: Buffer): void {
    this.#bytes += chunk.length
    const { maxAnswerBytes } = this.#expected
    if (this.#bytes <= maxAnswerBytes) this.#chunks.push(chunk)
    else this.#fail(distrusted('too-large', `an answer of more than ${maxAnswerBytes} bytes`))
  }

  onResponseEnd(): void {
    if (this.#isOver) return
    this.#end()
    const [only] = this.#chunks
    const bytes = this.#chunks.length === 1 ? only! : Buffer.concat(this.#chunks)
    this.#settled.resolve({ status: this.#status, text: bytes.toString('utf8') })
  }

  onResponseError(_: Dispatcher.DispatchController, cause: Error): void {
    this.#fail(distrusted('unreachable', cause.message, cause))
  }

  #fail(reason: unknown): void {
    if (this.#isOver) return
    this.#end()
    this.#settled.reject(reason)
    this.#controller?.abort(reason instanceof Error ? reason : new Error('given up', { cause: reason }))
  }

  #end(): void {
    this.#isOver = true
    clearTimeout(this.#timer)
    this.#call.signal?.removeEventListener('abort', this.#giveUp)
  }
}

/** Of spans of calls to the server. */
export function serverAttributes(address: string): Readonly<Record<string, string | number>> {
  const { hostname, port, protocol } = new URL(address)
  const usualPort = protocol === 'https:' ? 443 : 80
  return { 'server.address': hostname, 'server.port': port === '' ? usualPort : Number(port) }
}

export function secretHeaders(secret: string | null): Readonly<Record<string, string>> {
  return secret === null ? {} : { authorization: `Bearer ${secret}` }
}
