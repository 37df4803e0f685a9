import { STATUS_CODES } from 'node:http'
import type { Socket } from 'node:net'
import { FreshetError } from '../../schemas/errors.ts'
import type { GatewayApp } from '../gateway-app.ts'
import type { GatewayOptions } from '../gateway-options.ts'
import { loopTurns } from './loop-turns.ts'
import { SlowClients, type SlowReason } from './slow-clients.ts'

const streams: ReadonlySet<string> = new Set(['POST /v1/items', 'GET /v1/events'])
const headersWithinMs = 15_000

/** As many connections as can be held, and none for those who hold one without using it. */
export function boundConnections(app: GatewayApp, options: GatewayOptions): void {
  const { server } = app
  const cutCount = options.meter.createCounter('freshet.http.connections_cut', {
    description: 'Connections refused beyond the bound, or cut because the other end was too slow, by reason',
  })
  for (const reason of ['too-many', 'slow-sender', 'slow-reader']) cutCount.add(0, { reason })
  server.maxConnections = options.maxConnections
  server.headersTimeout = headersWithinMs
  server.on('drop', () => cutCount.add(1, { reason: 'too-many' }))
  const clients = new SlowClients(options.slowClients, (socket, reason, answering) => {
    cutCount.add(1, { reason })
    const canBeTold = reason === 'slow-sender' && answering !== null && !answering.headersSent
    cut(socket, reason, canBeTold)
  })
  server.on('connection', socket => {
    loopTurns.connected()
    clients.opened(socket)
  })
  app.addHook('onRequest', (request, reply, done) => {
    const isStream = streams.has(`${request.method} ${request.routeOptions.url}`)
    if (isStream || hasBody(request.headers)) clients.began(request.raw, reply.raw, isStream)
    done()
  })
  const timer = setInterval(() => clients.look(), options.slowClients.lookEveryMs)
  timer.unref()
  app.addHook('onClose', async () => clearInterval(timer))
}

function hasBody(headers: { readonly [name: string]: unknown }): boolean {
  return headers['content-length'] !== undefined || headers['transfer-encoding'] !== undefined
}

function cut(socket: Socket, reason: SlowReason, canBeTold: boolean): void {
  if (!canBeTold) {
    socket.destroy()
    return
  }
  const error = new FreshetError('request-timeout', `the body comes too slowly (${reason})`)
  socket.end(rawAnswer(error))
  socket.destroySoon()
}

/** An answer to a request that no route answers. */
export function rawAnswer(error: FreshetError, status = error.httpStatus): string {
  const body = JSON.stringify(error.toBody())
  return (
    `HTTP/1.1 ${status} ${STATUS_CODES[status]}\r\n` +
    `Content-Type: application/json; charset=utf-8\r\nContent-Length: ${Buffer.byteLength(body)}\r\nConnection: close\r\n\r\n${body}`
  )
}
