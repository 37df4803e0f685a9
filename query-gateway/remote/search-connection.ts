import type { ClientRequest, IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import { type RawData, WebSocket } from 'ws'
import type { FreshetError } from '../../schemas/errors.ts'
import type { ReplicaId } from '../../schemas/ids.ts'
import { NumberMap } from '../../schemas/number-map.ts'
import {
  type AnswerHead,
  askFrame,
  cancelFrame,
  maxFrameHeadBytes,
  readAnswerHead,
  searchesPath,
} from '../../schemas/shard-frames.ts'
import type { TraceHeaders } from '../../schemas/trace-context.ts'
import { TurnCork } from '../../schemas/turn-cork.ts'
import { distrusted, failureOf } from './distrust.ts'
import { type RemoteReplicaSettings, secretHeaders } from './shard-connection.ts'

export interface SearchCall {
  readonly replica: ReplicaId
  /** The replica that is to answer, as `replicaTag` has it. */
  readonly tag: string
  readonly body: string
  readonly trace: TraceHeaders
  readonly signal?: AbortSignal | undefined
}

export interface SearchAnswer {
  readonly status: number
  readonly text: string
}

/** Asked, until it is answered or given up. */
interface Pending extends SearchCall {
  readonly settled: PromiseWithResolvers<SearchAnswer>
  readonly timer: NodeJS.Timeout
  readonly giveUp: () => void
  /** Null while it is not sent. */
  number: number | null
}

/** Of what an upgrade is refused with. */
const maxRefusalBytes = 65_536
/** How long a process has to answer that the connection is closed. */
const closingMs = 1_000

/**
 * One connection to a shard process, for searches of all its replicas, see `schemas/shard-frames.ts`.
 *
 * connecting ─▶ open ─▶ over
 *
 * Calls wait while it is connecting, and while as many as allowed are in hand. What is wrong with an answer is its
 * call's failure; what breaks the protocol ends the connection. When it is over its calls fail, and it takes no more:
 * the next one is another's. A process that is gone without a word is found out by its silence.
 */
export class SearchConnection {
  readonly #settings: RemoteReplicaSettings
  readonly #socket: WebSocket
  readonly #sent = new NumberMap<Pending>()
  readonly #waiting = new Set<Pending>()
  readonly #closed = Promise.withResolvers<void>()
  readonly #listening: NodeJS.Timeout
  #stream: Socket | null = null
  #cork: TurnCork | null = null
  #nextNumber = 0
  #heardBytes = 0
  #isProbed = false
  #isOver = false

  constructor(address: string, settings: RemoteReplicaSettings) {
    this.#settings = settings
    this.#socket = new WebSocket(new URL(searchesPath, address), {
      ...settings.tls,
      headers: secretHeaders(settings.secret),
      perMessageDeflate: false,
      maxPayload: settings.maxAnswerBytes + maxFrameHeadBytes,
      // What is text is found out where it is read.
      skipUTF8Validation: true,
      finishRequest: request => this.#limitConnecting(request),
    })
    this.#listening = setInterval(() => this.#listen(), settings.silentMs).unref()
    this.#follow()
  }

  get takesCalls(): boolean {
    return !this.#isOver && this.#socket.readyState <= WebSocket.OPEN
  }

  /** @throws FreshetError `replica-unavailable`, with `why` in the details; the signal's reason when it fires first */
  ask(call: SearchCall): Promise<SearchAnswer> {
    const { searchTimeoutMs, graceMs } = this.#settings
    const limitMs = searchTimeoutMs + graceMs
    const pending: Pending = {
      ...call,
      settled: Promise.withResolvers(),
      timer: setTimeout(() => this.#drop(pending, distrusted('late', `no answer in ${limitMs} ms`)), limitMs),
      giveUp: () => this.#drop(pending, call.signal?.reason),
      number: null,
    }
    call.signal?.addEventListener('abort', pending.giveUp, { once: true })
    if (this.#waiting.size === 0 && this.#maySend) this.#post(pending)
    else this.#waiting.add(pending)
    return pending.settled.promise
  }

  /** Calls in hand fail. Resolves when the connection is closed. */
  close(): Promise<void> {
    const { readyState } = this.#socket
    if (readyState === WebSocket.OPEN) {
      this.#socket.close(1000)
      setTimeout(() => this.#socket.terminate(), closingMs).unref()
    } else if (readyState === WebSocket.CONNECTING) this.#socket.terminate()
    return this.#closed.promise
  }

  #follow(): void {
    const socket = this.#socket
    socket.on('upgrade', ({ socket: stream }) => {
      this.#stream = stream
      this.#cork = new TurnCork(stream)
    })
    socket.on('open', () => this.#sendWaiting())
    socket.on('message', (data: RawData, isBinary: boolean) => this.#receive(data as Buffer, isBinary))
    socket.on('unexpected-response', (_request: ClientRequest, response: IncomingMessage) => this.#refused(response))
    socket.on('error', (error: Error & { readonly code?: string }) => {
      const isTooLarge = error.code === 'WS_ERR_UNSUPPORTED_MESSAGE_LENGTH'
      this.#end(distrusted(isTooLarge ? 'too-large' : 'unreachable', error.message, error))
    })
    socket.on('close', (code: number) => {
      this.#end(distrusted('unreachable', `the connection is closed (${code})`))
      this.#closed.resolve()
    })
  }

  /** The way to the process has its own limit. What the process makes of it is limited by its silence. */
  #limitConnecting(request: ClientRequest): void {
    const { connectTimeoutMs } = this.#settings
    const late = (): void => this.#end(distrusted('unreachable', `not connected in ${connectTimeoutMs} ms`))
    const timer = setTimeout(late, connectTimeoutMs)
    request.once('socket', socket => {
      socket.once('encrypted' in socket ? 'secureConnect' : 'connect', () => clearTimeout(timer))
      socket.once('close', () => clearTimeout(timer))
    })
    request.end()
  }

  get #maySend(): boolean {
    return this.#socket.readyState === WebSocket.OPEN && this.#sent.size < this.#settings.searchesInHand
  }

  #sendWaiting(): void {
    for (const pending of this.#waiting) {
      if (!this.#maySend) return
      this.#waiting.delete(pending)
      this.#post(pending)
    }
  }

  #post(pending: Pending): void {
    const { replica, body, trace } = pending
    pending.number = this.#nextNumber++
    this.#sent.set(pending.number, pending)
    this.#send(askFrame({ call: pending.number, replica, timeoutMs: this.#settings.searchTimeoutMs, trace, body }))
  }

  #send(frame: string): void {
    this.#cork?.hold()
    this.#socket.send(frame)
    if (this.#socket.bufferedAmount > this.#settings.unreadMaxBytes)
      this.#end(distrusted('unreachable', 'the process does not read what it is asked'))
  }

  #receive(bytes: Buffer, isBinary: boolean): void {
    const answer = isBinary ? null : readAnswerHead(bytes)
    const pending = answer && this.#sent.get(answer.call)
    if (answer === null) this.#end(distrusted('unreachable', 'what came is no answer'))
    else if (pending) this.#take(pending, answer, bytes)
    // To a call before it is late, or the second one: nobody waits for it.
    else if (answer.call >= this.#nextNumber) this.#end(distrusted('stray', 'an answer to a call that was not made'))
    this.#sendWaiting()
  }

  #take(pending: Pending, { status, tag, bodyAt }: AnswerHead, bytes: Buffer): void {
    const { maxAnswerBytes } = this.#settings
    if (bytes.length - bodyAt > maxAnswerBytes)
      this.#fail(pending, distrusted('too-large', `an answer of more than ${maxAnswerBytes} bytes`))
    else if (status === 200 && tag !== pending.tag)
      this.#fail(pending, distrusted('foreign', `${tag} answered for ${pending.tag}`))
    else {
      this.#settle(pending)
      pending.settled.resolve({ status, text: bytes.toString('utf8', bodyAt) })
    }
  }

  /** Nobody waits for the answer any more. */
  #drop(pending: Pending, reason: unknown): void {
    const { number } = pending
    this.#fail(pending, reason)
    if (number !== null && this.takesCalls) this.#send(cancelFrame(number))
    this.#sendWaiting()
  }

  #fail(pending: Pending, reason: unknown): void {
    this.#settle(pending)
    pending.settled.reject(reason)
  }

  #settle(pending: Pending): void {
    const { number, timer, signal, giveUp } = pending
    clearTimeout(timer)
    signal?.removeEventListener('abort', giveUp)
    if (number === null) this.#waiting.delete(pending)
    else this.#sent.delete(number)
  }

  /** The answer to the upgrade is none: an error of the shard, or a page of who knows whom. */
  #refused(response: IncomingMessage): void {
    const chunks: Buffer[] = []
    let bytes = 0
    const end = (): void => {
      const error = failureOf(Buffer.concat(chunks).toString('utf8'))
      const isOurs = (error.details as { readonly why?: unknown } | undefined)?.why !== 'malformed'
      this.#end(isOurs ? error : distrusted('stray', `${response.statusCode} to a request for an upgrade`))
    }
    response.on('data', (chunk: Buffer) => {
      bytes += chunk.length
      if (bytes <= maxRefusalBytes) chunks.push(chunk)
      else end()
    })
    response.once('end', end)
    response.once('error', error => this.#end(distrusted('unreachable', error.message, error)))
  }

  /** Bytes are a sign of life, be they a part of a large answer. */
  #listen(): void {
    const heardBytes = this.#stream?.bytesRead ?? 0
    if (heardBytes > this.#heardBytes) {
      this.#heardBytes = heardBytes
      this.#isProbed = false
    } else if (!this.#isProbed) {
      this.#isProbed = true
      if (this.#socket.readyState === WebSocket.OPEN) this.#socket.ping()
    } else setImmediate(() => this.#endIfSilent())
  }

  /** Once more, after what may have come while this process itself was busy is read. */
  #endIfSilent(): void {
    if ((this.#stream?.bytesRead ?? 0) > this.#heardBytes) return
    this.#end(distrusted('unreachable', `the process has been silent for ${2 * this.#settings.silentMs} ms`))
  }

  #end(error: FreshetError): void {
    if (this.#isOver) return
    this.#isOver = true
    clearInterval(this.#listening)
    for (const pending of [...this.#waiting, ...this.#sent.values()]) this.#fail(pending, error)
    this.#socket.terminate()
  }
}
