import { createHash } from 'node:crypto'
import { Readable } from 'node:stream'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FreshetError } from '../schemas/errors.ts'
import { StoredBlob } from '../schemas/http-items.ts'
import { pictureType } from './picture-signature.ts'
import { expectShape } from './testing/expect-shape.ts'
import { type GatewayFixture, itemId, openGateway, picture, snapshot } from './testing/gateway-fixture.ts'

let gateway: GatewayFixture

beforeEach(async () => {
  gateway = await openGateway({ options: { imageMaxBytes: 1000 } })
})

afterEach(() => gateway.close())

const put = (payload: Buffer | Readable | undefined, contentType?: string) =>
  gateway.app.inject({
    method: 'PUT',
    url: '/v1/blobs',
    ...(payload === undefined ? {} : { payload }),
    ...(contentType === undefined ? {} : { headers: { 'content-type': contentType } }),
  })

describe('a picture', () => {
  test.each(['image/png', 'application/octet-stream', 'application/json', 'multipart/form-data', undefined])(
    'sent as %s is stored by its bytes and served back',
    async contentType => {
      const response = await put(picture, contentType)
      expect(response.statusCode).toBe(200)
      const stored = response.json()
      expectShape(StoredBlob, stored)
      const digest = createHash('sha256').update(picture).digest('hex')
      expect(stored).toEqual({ blob: `blob:${digest}`, bytes: picture.length })
      const served = await gateway.app.inject(`/v1/blobs/${digest}`)
      expect(served.rawPayload).toEqual(picture)
      expect(served.headers).toMatchObject({
        'content-type': 'image/png',
        'x-content-type-options': 'nosniff',
        'content-security-policy': "default-src 'none'; sandbox",
        'cache-control': 'public, max-age=31536000, immutable',
      })
    },
  )

  test('may come in pieces smaller than its signature', async () => {
    const pieces = Readable.from(Array.from(picture, byte => Buffer.of(byte)))
    expect((await put(pieces)).json().bytes).toBe(picture.length)
  })

  test.each([
    ['nothing', undefined, 422, 'image-empty'],
    ['no bytes', Buffer.alloc(0), 422, 'image-empty'],
    ['HTML', Buffer.from('<html><script>alert(1)</script> and more than a signature'), 422, 'image-format'],
    ['a short text', Buffer.from('hi'), 422, 'image-format'],
    ['too many bytes', Buffer.concat([picture, Buffer.alloc(1000)]), 413, 'image-too-large'],
  ])('of %s is refused', async (_name, payload, status, code) => {
    const response = await put(payload)
    expect([response.statusCode, response.json().error.code]).toEqual([status, code])
  })

  test('too large is refused also when its length is not told', async () => {
    const response = await put(Readable.from([picture, Buffer.alloc(1000)]))
    expect([response.statusCode, response.json().error.code]).toEqual([413, 'image-too-large'])
  })

  test('is refused when the store is full', async () => {
    gateway.blobs.trouble = new FreshetError('blob-store-full', 'full')
    const response = await put(picture)
    expect([response.statusCode, response.json().error]).toEqual([
      507,
      { code: 'blob-store-full', message: 'full', retryable: true },
    ])
  })

  test.each([
    ['0'.repeat(64), 404, 'blob-not-found'],
    ['..%2f..%2fetc%2fpasswd', 400, 'bad-request'],
    ['ABC', 400, 'bad-request'],
  ])('under %s there is none', async (digest, status, code) => {
    const response = await gateway.app.inject(`/v1/blobs/${digest}`)
    expect([response.statusCode, response.json().error.code]).toEqual([status, code])
    expect(response.headers['cache-control']).toBe('no-store')
  })
})

describe('an item’s picture', () => {
  test('is served by index, and revalidated by digest', async () => {
    const { digest } = await gateway.blobs.put(picture, 1000)
    gateway.replica.set(itemId('a/b'), { snapshot: snapshot('a/b', { imageDigests: [digest] }) })
    const url = '/v1/items/a%2Fb/image'
    const first = await gateway.app.inject(url)
    expect([first.statusCode, first.headers['content-type'], first.rawPayload]).toEqual([200, 'image/png', picture])
    const again = await gateway.app.inject({ url, headers: { 'if-none-match': first.headers.etag } })
    expect([again.statusCode, again.body]).toEqual([304, ''])
    expect((await gateway.app.inject(`${url}?index=1`)).json().error.code).toBe('blob-not-found')
    expect((await gateway.app.inject(`${url}?index=-1`)).json().error.code).toBe('bad-request')
  })

  test('of an unknown item is 404', async () => {
    expect((await gateway.app.inject('/v1/items/ghost/image')).json().error.code).toBe('item-not-found')
  })
})

test.each([
  ['image/jpeg', '\xff\xd8\xff\xe0'],
  ['image/png', '\x89PNG\r\n\x1a\n'],
  ['image/gif', 'GIF87a'],
  ['image/gif', 'GIF89a'],
  ['image/webp', 'RIFF\x10\0\0\0WEBPVP8 '],
  ['image/tiff', 'II*\0'],
  ['image/tiff', 'MM\0*'],
  ['image/avif', '\0\0\0\x20ftypavif'],
  ['image/avif', '\0\0\0\x20ftypmif1\0\0\0\0mif1avifmiaf'],
  [null, '\0\0\0\x20ftypisom\0\0\0\0isomavc1'],
  [null, 'RIFF\x10\0\0\0WAVE'],
  [null, '<svg xmlns='],
  [null, ''],
])('%s by signature', (type, head) => {
  expect(pictureType(Buffer.from(head, 'latin1'))).toBe(type)
})
