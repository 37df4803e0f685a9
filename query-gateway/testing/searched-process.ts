import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server } from 'node:http'
import type { AddressInfo, Socket } from 'node:net'
import { type WebSocket, WebSocketServer } from 'ws'
import { type Ask, answerFrame, readGatewayFrame } from '../../schemas/shard-frames.ts'

/** One search that was asked of it, and the connection it came by. */
export interface AskedSearch extends Ask {
  readonly socket: WebSocket
  /** Below the socket. */
  readonly stream: Socket
  readonly upgrade: IncomingMessage
  /** A message, as it is. */
  send(message: string | Buffer): void
  answer(tag: string, body: string, status?: number): void
}

/** Listens where a shard process would, and answers searches as a test says. */
export class SearchedProcess {
  readonly server: Server
  readonly asked: AskedSearch[] = []
  /** Calls that gateways do not wait for any more. */
  readonly cancelled: number[] = []
  /** Every connection that was upgraded. */
  readonly connections: Socket[] = []

  private constructor(answer: (asked: AskedSearch) => void, server: Server) {
    this.server = server
    const sockets = new WebSocketServer({ server })
    sockets.on('connection', (socket, upgrade) => {
      const stream = upgrade.socket
      this.connections.push(stream)
      socket.on('error', () => undefined)
      socket.on('message', data => {
        const frame = readGatewayFrame(data as Buffer)!
        if ('cancelled' in frame) {
          this.cancelled.push(frame.cancelled)
          return
        }
        const asked: AskedSearch = {
          ...frame,
          socket,
          stream,
          upgrade,
          send: message => socket.send(message),
          answer: (tag, body, status = 200) => socket.send(answerFrame({ call: frame.call, status, tag }, body)),
        }
        this.asked.push(asked)
        answer(asked)
      })
    })
  }

  /** @param server one that does not listen yet */
  static async listen(
    answer: (asked: AskedSearch) => void,
    server: Server = createServer(),
    port = 0,
  ): Promise<SearchedProcess> {
    const listening = new SearchedProcess(answer, server)
    server.listen(port, '127.0.0.1')
    await once(server, 'listening')
    return listening
  }

  get port(): number {
    return (this.server.address() as AddressInfo).port
  }

  get address(): string {
    return `http://127.0.0.1:${this.port}`
  }

  /** As a process that is killed. */
  async stop(): Promise<void> {
    const closed = new Promise(resolve => this.server.close(resolve))
    this.server.closeAllConnections()
    for (const stream of this.connections) stream.destroy()
    await closed
  }
}
