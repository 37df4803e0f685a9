import type { IncomingMessage, ServerResponse } from 'node:http'
import type { Socket } from 'node:net'

export interface SlowClientRules {
  /** Time between two looks at the connections. */
  readonly lookEveryMs: number
  /** Bytes that must move between two looks where something is to move. */
  readonly leastBytes: number
  /** Looks in a row that find too little before the connection is cut. */
  readonly patience: number
}

/** 1 KiB/s over ten seconds: below any line that a person would wait at. */
export const usualRules: SlowClientRules = { lookEveryMs: 5_000, leastBytes: 5 * 1_024, patience: 2 }

export type SlowReason = 'slow-sender' | 'slow-reader'

interface Connection {
  bytesRead: number
  bytesSent: number
  slowSends: number
  slowReads: number
  /** Whose body is still to come; null while none is. */
  receiving: IncomingMessage | null
  answering: ServerResponse | null
  /** Of a stream that paces both ends by itself, and has bounds of its own. */
  isStream: boolean
}

/**
 * Cuts connections whose other end sends a body or takes an answer slower than anyone would: each holds memory here for
 * as long as it lasts. One that is idle between requests, or that waits for us, is never blamed.
 */
export class SlowClients {
  readonly #rules: SlowClientRules
  readonly #cut: (socket: Socket, reason: SlowReason, answering: ServerResponse | null) => void
  readonly #connections = new Map<Socket, Connection>()

  constructor(
    rules: SlowClientRules,
    cut: (socket: Socket, reason: SlowReason, answering: ServerResponse | null) => void,
  ) {
    this.#rules = rules
    this.#cut = cut
  }

  opened(socket: Socket): void {
    this.#connections.set(socket, {
      bytesRead: 0,
      bytesSent: 0,
      slowSends: 0,
      slowReads: 0,
      receiving: null,
      answering: null,
      isStream: false,
    })
    socket.once('close', () => this.#connections.delete(socket))
  }

  /** The next body, or stream, on a connection. */
  began(request: IncomingMessage, answering: ServerResponse, isStream: boolean): void {
    const connection = this.#connections.get(request.socket)
    if (!connection) return
    Object.assign(connection, { receiving: request, answering, isStream, slowSends: 0 })
    if (isStream) answering.once('close', () => Object.assign(connection, { isStream: false }))
  }

  /** To be called every `lookEveryMs`. */
  look(): void {
    for (const [socket, connection] of this.#connections) {
      const reason = connection.isStream ? null : this.#judge(socket, connection)
      connection.bytesRead = socket.bytesRead
      connection.bytesSent = sentBytes(socket)
      if (reason !== null) this.#cut(socket, reason, connection.answering)
    }
  }

  #judge(socket: Socket, connection: Connection): SlowReason | null {
    const { leastBytes, patience } = this.#rules
    const { receiving } = connection
    if (receiving?.complete || receiving?.destroyed) connection.receiving = null
    // Bytes that lie here unread are ours to take.
    const isAwaited = connection.receiving !== null && connection.receiving.readableLength === 0
    const sendsTooLittle = isAwaited && socket.bytesRead - connection.bytesRead < leastBytes
    connection.slowSends = sendsTooLittle ? connection.slowSends + 1 : 0
    if (connection.slowSends >= patience) return 'slow-sender'
    const readsTooLittle = socket.writableLength > 0 && sentBytes(socket) - connection.bytesSent < leastBytes
    connection.slowReads = readsTooLittle ? connection.slowReads + 1 : 0
    return connection.slowReads >= patience ? 'slow-reader' : null
  }
}

/** Handed to the system; `bytesWritten` counts also what still waits for that. */
function sentBytes(socket: Socket): number {
  return socket.bytesWritten - socket.writableLength
}
