import type { Duplex } from 'node:stream'
import type { FastifyBaseLogger } from 'fastify'
import type { WebSocket } from 'ws'
import { FreshetError } from '../../schemas/errors.ts'
import { NumberMap } from '../../schemas/number-map.ts'
import { type Ask, answerFrame, nobodysTag, readGatewayFrame } from '../../schemas/shard-frames.ts'
import { replicaTag } from '../../schemas/shard-wire.ts'
import { TurnCork } from '../../schemas/turn-cork.ts'
import { errorAnswer, knownError } from './error-answers.ts'
import type { SearchMeasure } from './search-measure.ts'
import { searchText, servedReplica } from './served-replica.ts'
import type { ShardServerParts } from './shard-server.ts'

export interface GatewayConnectionOptions {
  readonly socket: WebSocket
  /** Below the socket. */
  readonly stream: Duplex
  readonly parts: ShardServerParts
  readonly measure: SearchMeasure
  readonly log: FastifyBaseLogger
}

export interface SearchAnswer {
  readonly status: number
  readonly tag: string
  readonly text: string
  /** What it tells of, if it is one. */
  readonly error?: FreshetError
}

/** Why a search is ended whose answer nobody would read. */
const cancelled = new FreshetError('timeout', 'the caller has gone')

/**
 * The searches of one gateway. Open until either side closes; while it drains, searches in hand are answered, others
 * refused, and it is closed with the last. A gateway that breaks the protocol, or does not read its answers, is cut;
 * whenever the connection ends, its searches do.
 */
export class GatewayConnection {
  readonly #options: GatewayConnectionOptions
  readonly #cork: TurnCork
  readonly #inHand = new NumberMap<AbortController>()
  #isDraining = false

  constructor(options: GatewayConnectionOptions) {
    this.#options = options
    const { socket, stream } = options
    this.#cork = new TurnCork(stream)
    socket.on('message', (data, isBinary) => this.#receive(data as Buffer, isBinary))
    socket.on('error', error => options.log.warn({ err: error }, 'a connection of a gateway failed'))
    socket.once('close', () => {
      for (const search of this.#inHand.values()) search.abort(cancelled)
    })
  }

  /** Closes once what is in hand is answered. */
  drain(): void {
    this.#isDraining = true
    this.#closeWhenDrained()
  }

  cut(): void {
    this.#options.socket.terminate()
  }

  #receive(bytes: Buffer, isBinary: boolean): void {
    const frame = isBinary ? null : readGatewayFrame(bytes)
    if (frame === null) this.#violated('what came is no frame')
    else if ('cancelled' in frame) this.#inHand.get(frame.cancelled)?.abort(cancelled)
    else if (this.#inHand.has(frame.call)) this.#violated(`call ${frame.call} is in hand`)
    else void this.#serve(frame)
  }

  async #serve(ask: Ask): Promise<void> {
    const { parts, measure } = this.#options
    const timeoutMs = Math.min(ask.timeoutMs, parts.limits.timeoutMs)
    const ended = new AbortController()
    const timer = setTimeout(() => ended.abort(new FreshetError('timeout', `not done in ${timeoutMs} ms`)), timeoutMs)
    const refusal = this.#refusal()
    this.#inHand.set(ask.call, ended)
    const answer = await measure.measured(ask, () =>
      refusal === null ? this.#answer(ask, ended.signal) : Promise.resolve(answerOf(refusal, nobodysTag)),
    )
    clearTimeout(timer)
    this.#inHand.delete(ask.call)
    if (ended.signal.reason !== cancelled) this.#send(ask.call, answer)
    this.#closeWhenDrained()
  }

  #refusal(): FreshetError | null {
    if (this.#isDraining) return new FreshetError('replica-unavailable', 'the shard is about to stop')
    if (this.#inHand.size < this.#options.parts.limits.searchesPerGateway) return null
    return new FreshetError('overloaded', `${this.#inHand.size} searches of this gateway are in hand`)
  }

  /** Never fails. */
  async #answer({ replica: name, body }: Ask, signal: AbortSignal): Promise<SearchAnswer> {
    const { parts, log } = this.#options
    let tag = nobodysTag
    try {
      const replica = servedReplica(parts, name)
      tag = replicaTag(replica)
      return { status: 200, tag, text: await searchText(replica, body, signal) }
    } catch (thrown) {
      const error = knownError(thrown)
      if (error.code === 'internal') log.error({ err: thrown, replica: name }, 'a search failed')
      return answerOf(error, tag)
    }
  }

  #send(call: number, { status, tag, text }: SearchAnswer): void {
    const { socket, parts, log } = this.#options
    this.#cork.hold()
    socket.send(answerFrame({ call, status, tag }, text))
    if (socket.bufferedAmount <= parts.limits.unreadMaxBytes) return
    log.warn({ unreadBytes: socket.bufferedAmount }, 'a gateway that does not read its answers is cut')
    this.cut()
  }

  #violated(what: string): void {
    this.#options.log.warn({ what }, 'a gateway that breaks the protocol is cut')
    this.cut()
  }

  #closeWhenDrained(): void {
    if (this.#isDraining && this.#inHand.size === 0) this.#options.socket.close(1001)
  }
}

function answerOf(error: FreshetError, tag: string): SearchAnswer {
  return { ...errorAnswer(error), tag, error }
}
