import { Writable } from 'node:stream'
import { pino } from 'pino'
import { afterEach, expect, test } from 'vitest'
import { ErrorShape } from '../../schemas/http-shape.ts'
import { expectShape } from '../testing/expect-shape.ts'
import { type GatewayFixture, openGateway } from '../testing/gateway-fixture.ts'
import { type AccessOptions, openAccess } from './access-options.ts'
import { keyDigest, keyFrom, type Role } from './api-key.ts'
import { KeyRing } from './key-ring.ts'
import { routeAccess } from './route-access.ts'

const keyOf: Readonly<Record<Role, string>> = {
  read: keyFrom(new Uint8Array(32).fill(1)),
  write: keyFrom(new Uint8Array(32).fill(2)),
  admin: keyFrom(new Uint8Array(32).fill(3)),
}
const entryOf = (role: Role, requestsPerMinute: number | null = null) => ({
  name: `the-${role}er`,
  role,
  digest: keyDigest(keyOf[role]),
  requestsPerMinute,
})
const ring = () => new KeyRing([entryOf('read'), entryOf('write'), entryOf('admin')])
const bearer = (role: Role) => ({ authorization: `Bearer ${keyOf[role]}` })

const opened: GatewayFixture[] = []

afterEach(async () => {
  for (const gateway of opened.splice(0)) await gateway.close()
})

async function open(access: Partial<AccessOptions>, more: Parameters<typeof openGateway>[0] = {}) {
  const gateway = await openGateway({ ...more, options: { access: { ...openAccess, ...access }, ...more.options } })
  opened.push(gateway)
  return gateway.app
}

const item = { images: ['https://shop.example/a.jpg'], title: 'A' }
const calls = [
  ['read', { url: '/v1/items/a' }],
  ['read', { url: '/v1/status' }],
  ['read', { method: 'POST', url: '/v1/search', payload: { image: { itemId: 'a' } } }],
  ['read', { url: '/metrics' }],
  ['write', { method: 'PUT', url: '/v1/items/a', payload: item }],
  ['write', { method: 'DELETE', url: '/v1/items/a' }],
  ['write', { method: 'POST', url: '/v1/items', payload: '{"delete":{"itemId":"a"}}\n' }],
  ['admin', { url: '/v1/admin/dead-letters' }],
  ['admin', { method: 'POST', url: '/v1/admin/backup', payload: { directory: '/tmp/x' } }],
] as const

test.each(calls)('%s is needed for %j', async (needed, call) => {
  const app = await open({ keys: ring() })
  const roles: readonly Role[] = ['read', 'write', 'admin']
  const statuses = new Map<string, number>()
  for (const role of roles) statuses.set(role, (await app.inject({ ...call, headers: bearer(role) })).statusCode)
  for (const role of roles) {
    const isEnough = roles.indexOf(role) >= roles.indexOf(needed)
    expect(statuses.get(role) === 403, role).toBe(!isEnough)
  }
  const without = await app.inject(call)
  expect(without.statusCode).toBe(401)
  expectShape(ErrorShape, without.json())
  expect(without.json().error.code).toBe('unauthenticated')
  expect(without.headers['www-authenticate']).toBe('Bearer realm="freshet"')
})

test('a lesser role is told which one is needed', async () => {
  const app = await open({ keys: ring() })
  const { statusCode, body } = await app.inject({ method: 'DELETE', url: '/v1/items/a', headers: bearer('read') })
  expect(statusCode).toBe(403)
  expect(JSON.parse(body).error).toMatchObject({
    code: 'forbidden',
    message: 'this needs the role write; the key of the-reader has read',
    details: { needed: 'write', held: 'read' },
  })
})

test.each([
  ['a key of nobody', { authorization: `Bearer ${keyFrom(new Uint8Array(32))}` }],
  ['another scheme', { authorization: `Basic ${keyOf.read}` }],
  ['no key after the scheme', { authorization: 'Bearer ' }],
  ['two keys', { authorization: `Bearer ${keyOf.read} ${keyOf.admin}` }],
  ['an empty header', { 'x-api-key': '' }],
  ['a wrong Authorization beside a right x-api-key', { authorization: 'Bearer no', 'x-api-key': keyOf.read }],
])('%s is refused, and not repeated', async (_name, headers) => {
  const app = await open({ keys: ring() })
  const response = await app.inject({ url: '/v1/status', headers })
  expect(response.statusCode).toBe(401)
  expect(response.headers['www-authenticate']).toBe('Bearer realm="freshet", error="invalid_token"')
  expect(response.body).not.toContain(keyOf.read)
})

test('x-api-key does as well', async () => {
  const app = await open({ keys: ring() })
  expect((await app.inject({ url: '/v1/status', headers: { 'x-api-key': keyOf.read } })).statusCode).toBe(200)
})

test('probes are open, and so is what is said to be; the rest of what is not the API needs a key', async () => {
  const statusOf = async (app: Awaited<ReturnType<typeof open>>, url: string) => (await app.inject(url)).statusCode
  const usual = await open({ keys: ring() })
  for (const url of ['/healthz', '/readyz', '/', '/main.js', '/openapi.json'])
    expect(await statusOf(usual, url)).toBe(200)
  expect(await statusOf(usual, `/v1/blobs/${'0'.repeat(64)}`)).toBe(404)
  expect(await statusOf(usual, '/metrics')).toBe(401)
  const closed = await open({ keys: ring(), open: [] })
  for (const url of ['/healthz', '/readyz']) expect(await statusOf(closed, url)).toBe(200)
  for (const url of ['/', '/main.js', '/openapi.json', '/metrics', `/v1/blobs/${'0'.repeat(64)}`])
    expect(await statusOf(closed, url), url).toBe(401)
  expect((await closed.inject({ url: '/main.js', headers: bearer('read') })).statusCode).toBe(200)
  const measured = await open({ keys: ring(), open: ['metrics'] })
  expect(await statusOf(measured, '/metrics')).toBe(200)
})

test('a key that was taken back is refused from the next request on', async () => {
  const keys = ring()
  const app = await open({ keys })
  const status = async (role: Role) => (await app.inject({ url: '/v1/status', headers: bearer(role) })).statusCode
  expect([await status('read'), await status('admin')]).toEqual([200, 200])
  keys.replace([entryOf('admin')])
  expect([await status('read'), await status('admin')]).toEqual([401, 200])
})

test('no route of the API is left without a rule, and none that changes something is readable', async () => {
  const app = await open({ keys: ring() })
  const { paths } = (await app.inject('/openapi.json')).json() as { paths: Record<string, Record<string, object>> }
  const rules = Object.entries(paths).flatMap(([path, methods]) =>
    Object.keys(methods).map(method => {
      const pattern = path.replaceAll(/\{([^}]+)\}/g, ':$1')
      return [`${method.toUpperCase()} ${path}`, routeAccess(method.toUpperCase(), pattern)] as const
    }),
  )
  expect(rules.length).toBeGreaterThan(15)
  const readable = rules.filter(([route, rule]) => !route.startsWith('GET ') && rule !== 'write' && rule !== 'admin')
  expect(new Map(readable)).toEqual(
    new Map([
      ['POST /v1/search', 'read'],
      ['POST /v1/detect', 'read'],
      ['POST /v1/engagements', 'read'],
    ]),
  )
  for (const [route, rule] of rules) if (route.includes('/v1/admin/')) expect(rule, route).toBe('admin')
})

test('no key is logged, whatever fails', async () => {
  const lines: string[] = []
  const sink = new Writable({
    write(chunk, _encoding, done) {
      lines.push(String(chunk))
      done()
    },
  })
  const broken = () => {
    throw new TypeError('broken')
  }
  const options = { logger: pino({ level: 'trace' }, sink), access: { ...openAccess, keys: ring() } }
  const app = await open({ keys: ring() }, { options, ports: { routing: broken } })
  const response = await app.inject({ url: '/v1/admin/generations', headers: bearer('admin') })
  expect(response.statusCode).toBe(500)
  await app.inject({ url: '/v1/status', headers: { authorization: 'Bearer wrong-key-that-is-long-enough-to-look-at' } })
  expect(lines.length).toBeGreaterThan(0)
  expect(lines.join('')).not.toMatch(/freshet_sk_|wrong-key/)
})

test('requests a minute: of the key, or of the address where no keys are asked for', async () => {
  const keys = new KeyRing([entryOf('read', 2), entryOf('write'), entryOf('admin', 0)])
  const app = await open({ keys, requestsPerMinute: 3 })
  const statuses = async (role: Role, times: number) => {
    const got: number[] = []
    for (let i = 0; i < times; i++)
      got.push((await app.inject({ url: '/v1/status', headers: bearer(role) })).statusCode)
    return got
  }
  expect(await statuses('read', 3)).toEqual([200, 200, 429])
  expect(await statuses('write', 4)).toEqual([200, 200, 200, 429])
  expect(await statuses('admin', 5)).toEqual([200, 200, 200, 200, 200])
  const refused = await app.inject({ url: '/v1/status', headers: bearer('read') })
  expectShape(ErrorShape, refused.json())
  expect(refused.json().error).toMatchObject({ code: 'rate-limited', retryable: true, details: { limit: 2 } })
  expect(Number(refused.headers['retry-after'])).toBeGreaterThan(0)
  expect((await app.inject('/healthz')).statusCode).toBe(200)

  const openToAll = await open({ requestsPerMinute: 1 })
  const got = [await openToAll.inject('/v1/status'), await openToAll.inject('/v1/status'), await openToAll.inject('/')]
  expect(got.map(({ statusCode }) => statusCode)).toEqual([200, 429, 200])
})

test('pages of allowed origins may call, and read why they were refused', async () => {
  const shop = 'https://shop.example'
  const app = await open({ keys: ring(), corsOrigins: [shop] })
  const preflight = await app.inject({
    method: 'OPTIONS',
    url: '/v1/search',
    headers: {
      origin: shop,
      'access-control-request-method': 'POST',
      'access-control-request-headers': 'authorization',
    },
  })
  expect(preflight.statusCode).toBe(204)
  expect(preflight.headers['access-control-allow-origin']).toBe(shop)
  expect(preflight.headers['access-control-allow-headers']).toContain('authorization')
  const refused = await app.inject({ method: 'POST', url: '/v1/search', payload: {}, headers: { origin: shop } })
  expect([refused.statusCode, refused.headers['access-control-allow-origin']]).toEqual([401, shop])
  const other = { origin: 'https://evil.example', ...bearer('write') }
  const foreign = await app.inject({ method: 'DELETE', url: '/v1/items/a', headers: other })
  expect([foreign.statusCode, foreign.headers['access-control-allow-origin']]).toEqual([403, undefined])
  const allowed = await app.inject({ method: 'DELETE', url: '/v1/items/a', headers: { ...other, origin: shop } })
  expect(allowed.statusCode).toBe(202)
})

test('without allowed origins a preflight is no route of ours', async () => {
  const app = await open({})
  const preflight = { origin: 'https://shop.example', 'access-control-request-method': 'POST' }
  const response = await app.inject({ method: 'OPTIONS', url: '/v1/search', headers: preflight })
  expect(response.statusCode).toBe(403)
  expect(response.headers['access-control-allow-origin']).toBeUndefined()
})
