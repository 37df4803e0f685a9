import { once } from 'node:events'
import { connect, type Socket } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import type { GatewayOptions } from '../gateway-options.ts'
import { type GatewayFixture, openGateway } from '../testing/gateway-fixture.ts'

let gateway: GatewayFixture | null = null
const sockets: Socket[] = []

afterEach(async () => {
  for (const socket of sockets.splice(0)) socket.destroy()
  await gateway?.close()
})

/** Quick looks, so that tests need not wait: nothing at all may stand still for more than two of them. */
const slowClients = { lookEveryMs: 40, leastBytes: 64, patience: 2 }

async function listen(options: Partial<GatewayOptions> = {}): Promise<Socket> {
  gateway = await openGateway({ options: { slowClients, ...options } })
  return dial(new URL(await gateway.app.listen({ host: '127.0.0.1', port: 0 })))
}

async function dial(url: URL): Promise<Socket> {
  const socket = connect(Number(url.port), url.hostname)
  sockets.push(socket)
  await once(socket, 'connect')
  return socket
}

async function allOf(socket: Socket): Promise<string> {
  const chunks: Buffer[] = []
  socket.on('data', chunk => chunks.push(chunk))
  await once(socket, 'close')
  return Buffer.concat(chunks).toString('latin1')
}

const post = (path: string, length: number) =>
  `POST ${path} HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\ncontent-length: ${length}\r\n\r\n`

test('a body that does not come is cut, and the sender told why', async () => {
  const socket = await listen()
  const answer = allOf(socket)
  socket.write(post('/v1/search', 1_000))
  const text = await answer
  expect(text).toMatch(/^HTTP\/1.1 408 /)
  expect(JSON.parse(text.slice(text.indexOf('{')))).toMatchObject({ error: { code: 'request-timeout' } })
})

test('a body that drips in is cut', async () => {
  const socket = await listen()
  // What is sent after the cut is answered by a reset.
  socket.on('error', () => undefined)
  const closed = once(socket.resume(), 'close')
  socket.write(post('/v1/search', 1_000))
  const drops = setInterval(() => socket.write(' '), 20)
  await closed
  clearInterval(drops)
})

test('an answer that nobody takes is cut', async () => {
  const big = { title: 'x'.repeat(8_000_000) }
  const socket = await listen({})
  gateway!.app.server.removeAllListeners('request')
  gateway!.app.server.on('request', (_request, response) => response.end(JSON.stringify(big)))
  socket.pause()
  socket.write('GET /big HTTP/1.1\r\nhost: localhost\r\n\r\n')
  const alive = () => new Promise<number>(done => gateway!.app.server.getConnections((_error, count) => done(count)))
  await vi.waitFor(async () => expect(await alive()).toBe(0), { timeout: 20_000 })
})

test('a connection that is idle, waits for us, or streams at its own pace is left alone', async () => {
  const { promise: gate, resolve: answer } = Promise.withResolvers<void>()
  const socket = await listen()
  const url = new URL(`http://127.0.0.1:${socket.remotePort}`)
  gateway!.model.gate = gate
  const idle = await dial(url)
  const bulk = await dial(url)
  bulk.write('POST /v1/items HTTP/1.1\r\nhost: localhost\r\ntransfer-encoding: chunked\r\n\r\n')
  const body = JSON.stringify({ image: { base64: Buffer.from('RIFF0000WEBPVP8 ').toString('base64') } })
  socket.write(`${post('/v1/search', body.length)}${body}`)
  await vi.waitUntil(() => gateway!.model.asked.length === 1)
  const slow = await dial(url)
  const cut = once(slow, 'close')
  slow.resume()
  slow.write(post('/v1/search', 1_000))
  // By the time that this one is cut, the others have been looked at as often.
  await cut
  answer()
  const [head] = (await once(socket, 'data')) as [Buffer]
  expect(head.toString('latin1')).toMatch(/^HTTP\/1.1 200 /)
  expect([idle.closed, bulk.closed]).toEqual([false, false])
  bulk.write('0\r\n\r\n')
  const [bulkHead] = (await once(bulk, 'data')) as [Buffer]
  expect(bulkHead.toString('latin1')).toMatch(/^HTTP\/1.1 200 /)
})

test('connections beyond the bound are refused', async () => {
  const first = await listen({ maxConnections: 1 })
  const second = connect(first.remotePort!, '127.0.0.1')
  sockets.push(second)
  await once(second, 'close')
  first.write('GET /healthz HTTP/1.1\r\nhost: localhost\r\n\r\n')
  const [head] = (await once(first, 'data')) as [Buffer]
  expect(head.toString('latin1')).toMatch(/^HTTP\/1.1 200 /)
})
