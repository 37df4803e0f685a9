import { createServer as createHttpServer, type RequestListener, type Server } from 'node:http'
import { createServer as createHttpsServer } from 'node:https'
import type { AddressInfo } from 'node:net'
import { buffer } from 'node:stream/consumers'
import type { Certificate } from '../../servers/certificate.ts'

export interface RegistryProxyOptions {
  /** Base address of the registry behind it. */
  readonly target: string
  /** The only value of `Authorization` that is let through; others get 401. */
  readonly authorization?: string
  /** Speaks TLS with this certificate. */
  readonly certificate?: Certificate
  /** Clients show the same certificate, or get no connection. */
  readonly isMutual?: boolean
}

/** What stands before a registry in a company: TLS and credentials in front of a real registry. */
export class RegistryProxy {
  readonly url: string
  readonly #server: Server

  static async start(options: RegistryProxyOptions): Promise<RegistryProxy> {
    const listener = forwarding(options)
    const { certificate, isMutual = false } = options
    const server =
      certificate === undefined
        ? createHttpServer(listener)
        : createHttpsServer(
            {
              cert: certificate.certificate,
              key: certificate.privateKey,
              ca: certificate.certificate,
              requestCert: isMutual,
            },
            listener,
          )
    await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
    const { port } = server.address() as AddressInfo
    const { pathname } = new URL(options.target)
    const scheme = certificate === undefined ? 'http' : 'https'
    return new RegistryProxy(`${scheme}://127.0.0.1:${port}${pathname}`, server)
  }

  private constructor(url: string, server: Server) {
    this.url = url
    this.#server = server
  }

  async stop(): Promise<void> {
    this.#server.closeAllConnections()
    await new Promise(resolve => this.#server.close(resolve))
  }
}

function forwarding({ target, authorization }: RegistryProxyOptions): RequestListener {
  return async (request, response) => {
    if (authorization !== undefined && request.headers.authorization !== authorization) {
      response.writeHead(401, { 'content-type': 'application/json' })
      response.end(JSON.stringify({ error_code: 401, message: 'Unauthorized' }))
      return
    }
    const { method = 'GET', headers } = request
    const body = await buffer(request)
    const answer = await fetch(new URL(request.url ?? '/', target), {
      method,
      headers: { 'content-type': headers['content-type'] ?? 'application/json' },
      ...(body.length === 0 ? {} : { body: new Uint8Array(body) }),
    })
    response.writeHead(answer.status, { 'content-type': answer.headers.get('content-type') ?? 'application/json' })
    response.end(Buffer.from(await answer.arrayBuffer()))
  }
}
