import { once } from 'node:events'
import { connect } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { ErrorShape } from '../schemas/http-shape.ts'
import { expectShape } from './testing/expect-shape.ts'
import { type GatewayFixture, openGateway } from './testing/gateway-fixture.ts'

let gateway: GatewayFixture

beforeEach(async () => {
  gateway = await openGateway({ options: { bodyMaxBytes: 1000 } })
})

afterEach(() => gateway.close())

const json = { 'content-type': 'application/json' }

describe('every failure is the documented JSON', () => {
  test.each([
    ['a route that does not exist', { url: '/v1/nope' }, 404, 'not-found', 'GET /v1/nope'],
    ['a page that does not exist', { url: '/nope.html' }, 404, 'not-found', ''],
    ['a file of the page that is not for browsers', { url: '/tsconfig.json' }, 404, 'not-found', ''],
    ['a file outside the page', { url: '/..%2fgateway.ts' }, 404, 'not-found', ''],
    ['another method', { method: 'PATCH', url: '/v1/items/a' }, 405, 'method-not-allowed', 'PUT'],
    ['another method of the bulk route', { method: 'PUT', url: '/v1/items' }, 405, 'method-not-allowed', 'POST'],
    ['a path that is not percent-encoding', { url: '/v1/items/%zz' }, 400, 'bad-request', 'percent-encoding'],
    ['no body', { method: 'POST', url: '/v1/search' }, 400, 'bad-request', 'expected object'],
    ['an empty JSON body', { method: 'POST', url: '/v1/search', headers: json }, 400, 'bad-request', 'empty'],
    [
      'invalid JSON',
      { method: 'POST', url: '/v1/search', headers: json, payload: '{"k":' },
      400,
      'bad-request',
      'JSON',
    ],
    [
      'poisonous JSON',
      { method: 'POST', url: '/v1/search', headers: json, payload: '{"__proto__":1}' },
      400,
      'bad-request',
      '',
    ],
    [
      'a body that is too large',
      { method: 'POST', url: '/v1/search', payload: { image: { base64: 'a'.repeat(2000) } } },
      413,
      'body-too-large',
      '',
    ],
    [
      'another content type',
      { method: 'POST', url: '/v1/search', headers: { 'content-type': 'text/plain' }, payload: 'x' },
      415,
      'unsupported-media-type',
      'application/json or multipart/form-data',
    ],
    [
      'a form where JSON is taken',
      {
        method: 'PUT',
        url: '/v1/items/a',
        headers: { 'content-type': 'application/x-www-form-urlencoded' },
        payload: 'a=b',
      },
      415,
      'unsupported-media-type',
      'send application/json',
    ],
    [
      'a multipart body that is none',
      {
        method: 'POST',
        url: '/v1/search',
        headers: { 'content-type': 'multipart/form-data; boundary=x' },
        payload: 'no parts',
      },
      400,
      'bad-request',
      '',
    ],
    [
      'a multipart body without boundary',
      { method: 'POST', url: '/v1/search', headers: { 'content-type': 'multipart/form-data' }, payload: 'x' },
      400,
      'bad-request',
      '',
    ],
  ] as const)('%s', async (_name, request, status, code, message) => {
    const response = await gateway.app.inject(request)
    expect(response.headers['content-type']).toContain('application/json')
    expectShape(ErrorShape, response.json())
    expect(response.json().error).toMatchObject({ code, message: expect.stringContaining(message) })
    expect(response.statusCode).toBe(status)
  })

  test('405 names the methods there are', async () => {
    const response = await gateway.app.inject({ method: 'PATCH', url: '/v1/items/a%2Fb?x=1' })
    expect(new Set(String(response.headers.allow).split(', '))).toEqual(new Set(['PUT', 'DELETE', 'GET', 'HEAD']))
  })

  test('a defect is told by request id, not by its message', async () => {
    const broken = await openGateway({
      ports: {
        routing: () => {
          throw new TypeError('secret path /root')
        },
      },
    })
    const response = await broken.app.inject('/v1/admin/generations')
    expect(response.statusCode).toBe(500)
    expect(response.json().error).toMatchObject({ code: 'internal', retryable: true })
    expect(response.body).not.toContain('secret')
    expect(response.body).toContain(String(response.headers['x-request-id']))
    await broken.close()
  })

  test.each([
    ['bytes that are not HTTP', 'hello there\r\n\r\n', 'HTTP/1.1 400'],
    [
      'headers that are too large',
      `GET / HTTP/1.1\r\nhost: localhost\r\nx: ${'y'.repeat(40_000)}\r\n\r\n`,
      'HTTP/1.1 431',
    ],
  ])('%s', async (_name, bytes, start) => {
    const url = new URL(await gateway.app.listen({ host: '127.0.0.1', port: 0 }))
    const socket = connect(Number(url.port), url.hostname).setEncoding('utf8')
    socket.write(bytes)
    let answer = ''
    socket.on('data', text => {
      answer += text
    })
    await once(socket, 'end')
    socket.destroy()
    expect(answer).toContain(start)
    expectShape(ErrorShape, JSON.parse(answer.slice(answer.indexOf('{'))))
  })
})

describe('a browser', () => {
  const publish = (headers: Record<string, string>) =>
    gateway.app.inject({ method: 'DELETE', url: '/v1/items/a', headers })

  test.each([
    ['of our page', { host: 'localhost:7480', origin: 'http://localhost:7480' }, 202],
    ['of our page at another loopback name', { host: '127.0.0.1:7480', origin: 'http://127.0.0.1:7480' }, 202],
    ['of our page behind TLS', { host: 'localhost', origin: 'https://localhost' }, 202],
    ['of a foreign page', { host: 'localhost:7480', origin: 'https://evil.example' }, 403],
    ['of a page on another port', { host: 'localhost:7480', origin: 'http://localhost:8080' }, 403],
    ['of a file', { host: 'localhost:7480', origin: 'null' }, 403],
    ['of a name rebound to this machine', { host: 'evil.example:7480', origin: 'http://evil.example:7480' }, 403],
  ])('%s', async (_name, headers, status) => {
    const response = await publish(headers)
    expect(response.statusCode).toBe(status)
    if (status === 403) expect(response.json().error.code).toBe('origin-refused')
  })

  test('of a rebound name may not read either', async () => {
    expect((await gateway.app.inject({ url: '/v1/status', headers: { host: 'evil.example' } })).statusCode).toBe(403)
  })

  test('behind a proxy of any name is served when hosts are not restricted', async () => {
    const open = await openGateway({ options: { allowedHosts: null } })
    expect((await open.app.inject({ url: '/healthz', headers: { host: 'search.example' } })).statusCode).toBe(200)
    await open.close()
  })

  test('gets the page under a strict policy, and JSON that it must not interpret', async () => {
    const page = await gateway.app.inject('/')
    expect([page.statusCode, page.headers['content-type']]).toEqual([200, 'text/html; charset=utf-8'])
    const policy = String(page.headers['content-security-policy'])
    expect(policy).toContain("script-src 'self'")
    expect(policy).not.toContain('unsafe')
    const api = await gateway.app.inject('/healthz')
    expect(api.headers).toMatchObject({
      'content-security-policy': "default-src 'none'; frame-ancestors 'none'",
      'x-content-type-options': 'nosniff',
      'referrer-policy': 'no-referrer',
      'cache-control': 'no-store',
    })
  })
})
