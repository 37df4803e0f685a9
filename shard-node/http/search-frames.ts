import type { IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { Duplex } from 'node:stream'
import type { FastifyInstance } from 'fastify'
import { WebSocketServer } from 'ws'
import { FreshetError } from '../../schemas/errors.ts'
import { maxFrameHeadBytes, searchesPath } from '../../schemas/shard-frames.ts'
import { secretCheck } from './access.ts'
import { errorAnswer } from './error-answers.ts'
import { GatewayConnection } from './gateway-connection.ts'
import { SearchMeasure } from './search-measure.ts'
import type { ShardServerParts } from './shard-server.ts'

const keepAliveMs = 60_000

/** Some clients offer other protocols, such as HTTP/2, with any request, and take an answer without them. */
export function asksForWebSocket({ headers }: IncomingMessage): boolean {
  return headers.upgrade?.toLowerCase() === 'websocket'
}

/** Takes connections of gateways for searches, see `schemas/shard-frames.ts`. Other WebSockets are refused. */
export function serveSearchFrames(app: FastifyInstance, parts: ShardServerParts): void {
  const { limits, draining, secret } = parts
  const refusalBySecret = secretCheck(secret)
  const open = new Set<GatewayConnection>()
  const measure = new SearchMeasure(parts)
  const sockets = new WebSocketServer({
    noServer: true,
    clientTracking: false,
    perMessageDeflate: false,
    maxPayload: limits.bodyMaxBytes + maxFrameHeadBytes,
    // What is text is found out where it is read.
    skipUTF8Validation: true,
  })
  const refusalOf = ({ url = '', headers }: IncomingMessage): FreshetError | null => {
    if (url.split('?', 1)[0] !== searchesPath) return new FreshetError('not-found', `nothing is upgraded at ${url}`)
    const refusal = refusalBySecret(headers.authorization)
    if (refusal !== null || !draining.aborted) return refusal
    return new FreshetError('replica-unavailable', 'the shard is about to stop')
  }
  app.server.on('upgrade', (request: IncomingMessage, stream: Duplex, head: Buffer) => {
    const refusal = refusalOf(request)
    if (refusal !== null) {
      refuse(stream, refusal)
      return
    }
    const socket = stream as Socket
    // A gateway that has gone without a word is found out in the end.
    socket.setKeepAlive(true, keepAliveMs)
    sockets.handleUpgrade(request, stream, head, socket => {
      const connection = new GatewayConnection({ socket, stream, parts, measure, log: app.log })
      open.add(connection)
      socket.once('close', () => open.delete(connection))
    })
  })
  draining.addEventListener('abort', () => {
    for (const connection of open) connection.drain()
    setTimeout(() => {
      for (const connection of open) connection.cut()
    }, limits.drainMs).unref()
  })
}

/** As an HTTP answer, which an upgrade is until it is one. */
function refuse(stream: Duplex, error: FreshetError): void {
  const { status, text } = errorAnswer(error)
  stream.once('error', () => stream.destroy())
  const lines = [
    `HTTP/1.1 ${status} Refused`,
    'connection: close',
    'content-type: application/json',
    `content-length: ${Buffer.byteLength(text)}`,
    ...(status === 401 ? ['www-authenticate: Bearer'] : []),
  ]
  stream.end(`${lines.join('\r\n')}\r\n\r\n${text}`, () => stream.destroy())
}
