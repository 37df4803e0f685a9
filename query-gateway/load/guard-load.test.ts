import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, expect, test, vi } from 'vitest'
import type { GatewayOptions } from '../gateway-options.ts'
import { fingerprint, type GatewayFixture, openGateway, unitVector } from '../testing/gateway-fixture.ts'

let gateway: GatewayFixture

afterEach(() => gateway.close())

async function open(options: Partial<GatewayOptions>): Promise<PromiseWithResolvers<void>> {
  gateway = await openGateway({ options })
  const gate = Promise.withResolvers<void>()
  gateway.model.gate = gate.promise
  return gate
}

const upload = { base64: Buffer.from('RIFF0000WEBPVP8 ').toString('base64') }
const inject = (url: string, payload?: object) =>
  gateway.app.inject(payload === undefined ? { url } : { method: 'POST', url, payload })

test('a full lane refuses its kind before reading, and no other kind', async () => {
  const gate = await open({ maxConcurrentPictures: 1, maxQueuedQueries: 0 })
  const running = inject('/v1/search', { image: upload })
  await vi.waitUntil(() => gateway.model.asked.length === 1)
  const form = { 'content-type': 'multipart/form-data; boundary=x' }
  const refused = await gateway.app.inject({ method: 'POST', url: '/v1/search', headers: form, payload: 'not a form' })
  expect([refused.statusCode, refused.json().error]).toMatchObject([
    503,
    { code: 'overloaded', details: { reason: 'queue-full' } },
  ])
  expect(refused.headers['retry-after']).toBe('1')
  expect((await inject('/v1/detect', { image: upload })).statusCode).toBe(503)
  expect((await inject('/v1/search', { image: { itemId: 'a' } })).statusCode).not.toBe(503)
  expect((await inject('/v1/items/a/similar')).statusCode).not.toBe(503)
  expect((await inject('/v1/status')).statusCode).toBe(200)
  gate.resolve()
  expect((await running).statusCode).toBe(200)
  expect((await inject('/v1/search', { image: upload })).statusCode).toBe(200)
})

test('where lookups are full a search without an image is refused unread, and keeps its connection', async () => {
  await open({ maxConcurrentQueries: 1, maxQueuedQueries: 0 })
  gateway.replica.trouble = 'hang'
  const running = inject('/v1/search', { vector: [...unitVector], fingerprint, deadlineMs: 500 })
  await vi.waitUntil(() => gateway.replica.searches.length === 1)
  const refused = await inject('/v1/search', { vector: 'no numbers' })
  expect([refused.statusCode, refused.json().error]).toMatchObject([
    503,
    { code: 'overloaded', details: { reason: 'queue-full' } },
  ])
  expect(refused.headers).toMatchObject({ 'retry-after': '1', connection: 'keep-alive' })
  expect((await inject('/v1/search', { image: 'no image' })).statusCode).toBe(400)
  expect((await inject('/v1/detect', {})).statusCode).toBe(400)
  await running
  expect((await inject('/v1/search', { vector: 'no numbers' })).statusCode).toBe(400)
})

test('an operator’s call goes through while queries wait', async () => {
  const gate = await open({ maxConcurrentPictures: 1, maxQueueMs: 60_000 })
  const queries = [inject('/v1/search', { image: upload }), inject('/v1/search', { image: upload })]
  await vi.waitUntil(() => gateway.model.asked.length === 1)
  expect((await inject('/v1/admin/generations')).statusCode).toBe(200)
  gate.resolve()
  expect((await Promise.all(queries)).map(({ statusCode }) => statusCode)).toEqual([200, 200])
})

test('a bulk stream lets waiting queries go first, and is never starved by them', async () => {
  const gate = await open({ maxConcurrentPictures: 1, maxQueueMs: 60_000 })
  const queries = [inject('/v1/search', { image: upload }), inject('/v1/search', { image: upload })]
  await vi.waitUntil(() => gateway.model.asked.length === 1)
  const lines = Array.from({ length: 600 }, (_, i) => `{"delete":{"itemId":"bulk-${i}"}}\n`).join('')
  const bulk = await gateway.app.inject({ method: 'POST', url: '/v1/items', payload: lines })
  expect(
    bulk.payload
      .trim()
      .split('\n')
      .filter(line => line.includes('receipt')),
  ).toHaveLength(600)
  expect(gateway.model.asked).toHaveLength(1)
  gate.resolve()
  expect((await Promise.all(queries)).map(({ statusCode }) => statusCode)).toEqual([200, 200])
})

test('bodies beyond the budget are refused before they are read, and it is given back', async () => {
  await open({ maxHeldBodyBytes: 1_000 })
  const url = new URL(await gateway.app.listen({ host: '127.0.0.1', port: 0 }))
  const holder = connect(Number(url.port), url.hostname)
  const head = 'POST /v1/search HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\n'
  holder.write(`${head}content-length: 900\r\n\r\n{`)
  const status = async () => {
    const response = await fetch(`${url.origin}/v1/search`, {
      method: 'POST',
      headers: { 'content-type': 'application/json' },
      body: `{"image":{"itemId":"${'a'.repeat(200)}"}}`,
    })
    await response.body?.cancel()
    return response.status
  }
  await vi.waitFor(async () => expect(await status()).toBe(503), { timeout: 20_000 })
  expect((await fetch(`${url.origin}/v1/items/a`, { method: 'DELETE' })).status).toBe(202)
  holder.destroy()
  await once(holder, 'close')
  await vi.waitFor(async () => expect(await status()).not.toBe(503), { timeout: 20_000 })
})
