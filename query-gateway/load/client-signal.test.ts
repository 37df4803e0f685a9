import { connect, type Socket } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import { defaultFanoutOptions } from '../fanout/fanout-options.ts'
import { fingerprint, type GatewayFixture, openGateway, unitVector } from '../testing/gateway-fixture.ts'

let gateway: GatewayFixture

afterEach(() => gateway.close())

/** A caller of the real server, by what it sends. */
function caller(head: string, body = ''): Socket {
  const { port } = gateway.app.server.address() as { readonly port: number }
  const socket = connect(port, '127.0.0.1')
  const length = body === '' ? '' : `content-type: application/json\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`
  socket.write(`${head} HTTP/1.1\r\nhost: localhost\r\n${length}\r\n${body}`)
  return socket
}

const search = { vector: [...unitVector], fingerprint }
const aMinute = 60_000

test('a caller who goes away frees the place of the search', async () => {
  const fanout = { ...defaultFanoutOptions, shardTimeoutMs: aMinute }
  const options = { maxConcurrentQueries: 1, deadlineMs: aMinute, maxQueueMs: aMinute, fanout }
  gateway = await openGateway({ options })
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  gateway.replica.trouble = 'hang'
  const first = caller('POST /v1/search', JSON.stringify(search))
  await vi.waitUntil(() => gateway.replica.searches.length === 1)
  gateway.replica.trouble = null
  const second = gateway.app.inject({ method: 'POST', url: '/v1/search', payload: { ...search, k: 3 } })
  first.destroy()
  expect((await second).statusCode).toBe(200)
})

test('a caller who goes away ends what waits for the item to be searchable', async () => {
  gateway = await openGateway({})
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  const item = JSON.stringify({ images: ['https://shop.example/a.jpg'] })
  const waits = caller(`PUT /v1/items/a?wait=searchable&timeoutMs=${aMinute}`, item)
  await vi.waitUntil(() => gateway.replica.waiting > 0)
  waits.destroy()
  await vi.waitUntil(() => gateway.replica.waiting === 0)
})

test('a caller who stays has the answer, however long ago the body came', async () => {
  gateway = await openGateway({})
  await gateway.app.listen({ host: '127.0.0.1', port: 0 })
  const { promise: gate, resolve: open } = Promise.withResolvers<void>()
  gateway.model.gate = gate
  const body = JSON.stringify({ image: { base64: Buffer.from('RIFF0000WEBPVP8 ').toString('base64') } })
  const socket = caller('POST /v1/search', body)
  await vi.waitUntil(() => gateway.model.asked.length === 1)
  await new Promise(resolve => setTimeout(resolve, 50))
  open()
  const head = await new Promise<string>(resolve => socket.once('data', chunk => resolve(chunk.toString('latin1'))))
  socket.destroy()
  expect(head).toMatch(/^HTTP\/1.1 200 /)
})
