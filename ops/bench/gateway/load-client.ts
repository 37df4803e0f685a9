import { connect, type Socket } from 'node:net'

export interface LoadAnswer {
  readonly status: number
  readonly body: Buffer
}

interface Request {
  readonly bytes: string
  resolve(answer: LoadAnswer): void
  reject(error: Error): void
}

const headEnd = Buffer.from('\r\n\r\n')

/**
 * HTTP/1.1 POST requests over kept connections, and no more of HTTP than a load needs: it runs on the same cores as what
 * is measured, and a complete client takes more time for a request than a server that refuses it. Only for servers that
 * tell the length of what they answer.
 */
export class LoadClient {
  readonly #host: string
  readonly #port: number
  readonly #most: number
  readonly #all = new Set<Connection>()
  readonly #free: Connection[] = []
  readonly #waiting: Request[] = []

  constructor(url: string, { connections }: { readonly connections: number }) {
    const { hostname, port } = new URL(url)
    this.#host = hostname
    this.#port = Number(port)
    this.#most = connections
  }

  /**
   * `body` in ASCII; `headers` as lines with their ends.
   * @throws Error when the connection ends before the answer does
   */
  post(path: string, body: string, headers: string): Promise<LoadAnswer> {
    const head = `POST ${path} HTTP/1.1\r\nHost: ${this.#host}:${this.#port}\r\n${headers}Content-Length: ${body.length}\r\n\r\n`
    return new Promise((resolve, reject) => {
      const request = { bytes: head + body, resolve, reject }
      const connection = this.#free.pop() ?? this.#opened()
      if (connection === null) this.#waiting.push(request)
      else connection.send(request)
    })
  }

  close(): void {
    for (const connection of this.#all) connection.end()
  }

  #opened(): Connection | null {
    if (this.#all.size === this.#most) return null
    const connection = new Connection(connect(this.#port, this.#host), {
      onFree: () => this.#use(connection),
      onEnd: () => this.#forget(connection),
    })
    this.#all.add(connection)
    return connection
  }

  #use(connection: Connection): void {
    const next = this.#waiting.shift()
    if (next === undefined) this.#free.push(connection)
    else connection.send(next)
  }

  #forget(connection: Connection): void {
    this.#all.delete(connection)
    const at = this.#free.indexOf(connection)
    if (at >= 0) this.#free.splice(at, 1)
    const next = this.#waiting.shift()
    if (next !== undefined) this.#opened()!.send(next)
  }
}

interface ConnectionEvents {
  onFree(): void
  onEnd(): void
}

/** One request at a time. */
class Connection {
  readonly #socket: Socket
  readonly #events: ConnectionEvents
  #request: Request | null = null
  #received: Buffer[] = []
  /** Of the answer, with its head; null until that is known. */
  #length: number | null = null
  #bytes = 0
  #bodyAt = 0

  constructor(socket: Socket, events: ConnectionEvents) {
    this.#socket = socket
    this.#events = events
    socket.setNoDelay(true)
    socket.on('data', chunk => this.#take(chunk))
    socket.on('error', error => this.#fail(error))
    socket.on('close', () => {
      this.#fail(new Error('the connection ended before the answer'))
      events.onEnd()
    })
  }

  send(request: Request): void {
    this.#request = request
    this.#socket.write(request.bytes, 'latin1')
  }

  end(): void {
    this.#socket.destroy()
  }

  #take(chunk: Buffer): void {
    this.#received.push(chunk)
    this.#bytes += chunk.length
    if (this.#length === null) this.#readHead()
    if (this.#length !== null && this.#bytes >= this.#length) this.#done(this.#joined())
  }

  #readHead(): void {
    const bytes = this.#joined()
    const at = bytes.indexOf(headEnd)
    if (at < 0) return
    const length = /\r\ncontent-length: *(\d+)/i.exec(bytes.toString('latin1', 0, at))?.[1]
    if (length === undefined) {
      this.#socket.destroy(new Error('the answer does not tell its length'))
      return
    }
    this.#bodyAt = at + headEnd.length
    this.#length = this.#bodyAt + Number(length)
  }

  #joined(): Buffer {
    if (this.#received.length > 1) this.#received = [Buffer.concat(this.#received)]
    return this.#received[0]!
  }

  #done(bytes: Buffer): void {
    const request = this.#request!
    const status = Number(bytes.toString('latin1', 9, 12))
    const body = bytes.subarray(this.#bodyAt)
    this.#request = null
    this.#received = []
    this.#length = null
    this.#bytes = 0
    request.resolve({ status, body })
    this.#events.onFree()
  }

  #fail(error: Error): void {
    this.#request?.reject(error)
    this.#request = null
  }
}
