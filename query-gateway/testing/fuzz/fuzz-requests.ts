import type { TSchema } from '@sinclair/typebox'
import fc from 'fast-check'
import { BulkLine, EngagementBatch, ItemBody } from '../../../schemas/http-items.ts'
import { BackupRequest, SnapshotRequest } from '../../../schemas/http-operations.ts'
import { DetectRequest, Filter, SearchQuery, SearchRequest } from '../../../schemas/http-search.ts'
import { hostileValues, type Json, nearlyOf, valuesOf } from './shape-values.ts'

export interface FuzzRequest {
  /** What the outcome is counted under. */
  readonly kind: string
  readonly method: string
  /** As it is sent, query string included. */
  readonly path: string
  readonly headers: Readonly<Record<string, string>>
  readonly body: Uint8Array | null
}

/** What a fuzz run knows of the server it talks to, so that some requests get further than the first check. */
export interface FuzzTarget {
  readonly itemIds: readonly string[]
  /** Files, whole ones and others. */
  readonly pictures: readonly Uint8Array[]
  readonly fingerprint: string
  readonly dims: number
  readonly generation: string
}

/** Requests of every kind: right, nearly right, and hostile, in equal parts. */
export function fuzzRequests(target: FuzzTarget): fc.Arbitrary<FuzzRequest> {
  return fc.oneof(
    { weight: 6, arbitrary: searches(target) },
    { weight: 3, arbitrary: detections(target) },
    { weight: 3, arbitrary: forms(target) },
    { weight: 3, arbitrary: itemWrites(target) },
    { weight: 2, arbitrary: bulkStreams() },
    { weight: 1, arbitrary: engagements() },
    { weight: 2, arbitrary: uploads(target) },
    { weight: 3, arbitrary: readings(target) },
    { weight: 1, arbitrary: operations() },
    { weight: 2, arbitrary: strangers() },
  )
}

function searches(target: FuzzTarget): fc.Arbitrary<FuzzRequest> {
  const known = fc.record(
    {
      image: fc.oneof(
        fc.record({ itemId: itemIds(target), object: fc.integer({ min: -1, max: 9 }) }, { requiredKeys: ['itemId'] }),
        pictures(target).map(bytes => ({ base64: Buffer.from(bytes).toString('base64') })),
        fc.constantFrom({ url: 'http://127.0.0.1:9/a.png' }, { url: 'http://[::1]/' }, { url: 'https://10.0.0.1/' }),
      ),
      box: fc.array(fc.double({ min: -0.5, max: 1.5, noNaN: true }), { minLength: 4, maxLength: 4 }),
      object: fc.integer({ min: -1, max: 50 }),
      k: fc.integer({ min: -1, max: 300 }),
      generation: fc.constantFrom(target.generation, 'g0', 'retired', ''),
      explain: fc.boolean(),
      exact: fc.boolean(),
      facets: fc.boolean(),
      deadlineMs: fc.constantFrom(30_000, 60_000, 60_001, 0, -1),
    },
    { requiredKeys: ['image'] },
  )
  const vectors = fc.record(
    {
      vector: fc.oneof(
        fc
          .array(fc.double({ min: -1, max: 1, noNaN: true }), { minLength: target.dims, maxLength: target.dims })
          .map(unit),
        fc.array(fc.oneof(fc.double(), fc.constant(1e200)), { maxLength: target.dims * 2 }),
      ),
      fingerprint: fc.constantFrom(target.fingerprint, '', 'ab'.repeat(32)),
    },
    { requiredKeys: ['vector'] },
  ) as fc.Arbitrary<Json>
  const any = fc.oneof(rightSearches(target), known as fc.Arbitrary<Json>, vectors, anyOf(SearchRequest))
  return jsonPosts('search', '/v1/search', any)
}

/** Such as are answered, in all their variety. */
function rightSearches(target: FuzzTarget): fc.Arbitrary<Json> {
  const wishes = fc.record(
    {
      k: fc.integer({ min: 1, max: 200 }),
      filter: valuesOf(Filter),
      exact: fc.boolean(),
      explain: fc.boolean(),
      facets: fc.boolean(),
      collapse: fc.boolean(),
      rerank: fc.boolean(),
      session: fc.string({ minLength: 1, maxLength: 20 }),
    },
    { requiredKeys: [] },
  )
  const corner = fc.double({ min: 0, max: 0.4, noNaN: true })
  const box = fc.tuple(corner, corner).map(([x, y]) => ({ box: [x, y, x + 0.5, y + 0.5] }))
  const subject = fc.oneof(
    fc.constantFrom(...target.itemIds).map(itemId => ({ image: { itemId } })),
    fc
      .tuple(fc.constantFrom(...target.pictures), fc.oneof(box, fc.constantFrom({}, { object: 0 })))
      .map(([bytes, part]) => {
        return { image: { base64: Buffer.from(bytes).toString('base64') }, ...part }
      }),
  )
  return fc.tuple(subject, wishes).map(([of, wish]) => ({ ...of, ...wish }) as Json)
}

function unit(vector: readonly number[]): readonly number[] {
  const length = Math.hypot(...vector) || 1
  return vector.map(each => each / length)
}

function detections(target: FuzzTarget): fc.Arbitrary<FuzzRequest> {
  const known = fc.record({
    image: fc.oneof(
      fc.record({ itemId: itemIds(target) }),
      pictures(target).map(bytes => ({ base64: Buffer.from(bytes).toString('base64') })),
    ),
  })
  return jsonPosts('detect', '/v1/detect', fc.oneof(known as fc.Arbitrary<Json>, anyOf(DetectRequest)))
}

function engagements(): fc.Arbitrary<FuzzRequest> {
  return jsonPosts('engagements', '/v1/engagements', anyOf(EngagementBatch))
}

function operations(): fc.Arbitrary<FuzzRequest> {
  // Never an absolute path, which would be done.
  const relative = (value: Json): Json =>
    JSON.parse(JSON.stringify(value ?? null, (_key, each) => (typeof each === 'string' ? `x${each}` : each)))
  return fc.oneof(
    jsonPosts('backup', '/v1/admin/backup', anyOf(BackupRequest).map(relative)),
    jsonPosts('snapshot', '/v1/admin/snapshots', anyOf(SnapshotRequest).map(relative)),
  )
}

function itemWrites(target: FuzzTarget): fc.Arbitrary<FuzzRequest> {
  const body = fc.oneof(
    valuesOf(ItemBody).map(value => ({ ...(value as object), ...goodImages, itemId: undefined }) as unknown as Json),
    anyOf(ItemBody),
  )
  const query = fc.constantFrom(
    '',
    '',
    '',
    '?wait=searchable&timeoutMs=1',
    '?wait=x',
    '?timeoutMs=-1',
    '?timeoutMs=a',
    '?x=1',
  )
  return fc
    .record({ id: pathParts(target), query, body: jsonBodies(body), isDelete: fc.boolean() })
    .map(({ id, query: asked, body: bytes, isDelete }) => ({
      kind: isDelete ? 'delete' : 'put',
      method: isDelete ? 'DELETE' : 'PUT',
      path: `/v1/items/${id}${asked}`,
      headers: isDelete ? {} : json,
      body: isDelete ? null : bytes,
    }))
}

/** What the shape alone cannot say: one way of naming pictures, and one that may be fetched. */
const goodImages = { images: ['https://shop.example/a.jpg'], imageUrl: undefined }

function bulkStreams(): fc.Arbitrary<FuzzRequest> {
  const line = fc.oneof(
    anyOf(BulkLine).map(toText),
    fc.string({ unit: 'binary', maxLength: 40 }),
    fc.constant('{"itemId":'),
  )
  return fc
    .record({
      lines: fc.array(line, { maxLength: 20 }),
      type: fc.constantFrom('application/x-ndjson', 'text/plain', ''),
    })
    .map(({ lines, type }) => ({
      kind: 'bulk',
      method: 'POST',
      path: '/v1/items',
      headers: type === '' ? {} : { 'content-type': type },
      body: Buffer.from(lines.join('\n'), 'utf8'),
    }))
}

function uploads(target: FuzzTarget): fc.Arbitrary<FuzzRequest> {
  const type = fc.constantFrom('application/octet-stream', 'image/png', 'application/json', '')
  return fc.record({ bytes: pictures(target), type }).map(({ bytes, type: contentType }) => ({
    kind: 'upload',
    method: 'PUT',
    path: '/v1/blobs',
    headers: contentType === '' ? {} : { 'content-type': contentType },
    body: bytes,
  }))
}

function forms(target: FuzzTarget): fc.Arbitrary<FuzzRequest> {
  const query = fc.oneof(anyOf(SearchQuery).map(toText), fc.string({ maxLength: 20 }), fc.constant('{}'))
  const part = fc.oneof(
    query.map(text => ({ head: 'form-data; name="query"', bytes: Buffer.from(text) })),
    pictures(target).map(bytes => ({ head: 'form-data; name="image"; filename="a"', bytes: Buffer.from(bytes) })),
    fc
      .constantFrom('form-data; name="other"', 'form-data; name="image"', 'attachment', 'form-data; name="__proto__"')
      .map(head => ({ head, bytes: Buffer.from('x') })),
  )
  const ending = fc.constantFrom('--\r\n', '--\r\n', '--\r\n', '\r\n', '')
  const type = fc.constantFrom(
    'multipart/form-data; boundary=b',
    'multipart/form-data; boundary=c',
    'multipart/form-data',
  )
  return fc
    .record({
      parts: fc.array(part, { maxLength: 3 }),
      ending,
      type,
      path: fc.constantFrom('/v1/search', '/v1/detect'),
    })
    .map(({ parts, ending: end, type: contentType, path }) => {
      const sections = parts.flatMap(({ head, bytes }) => [
        Buffer.from(`--b\r\nContent-Disposition: ${head}\r\n\r\n`),
        bytes,
        Buffer.from('\r\n'),
      ])
      const body = Buffer.concat([...sections, Buffer.from(`--b${end}`)])
      return { kind: 'form', method: 'POST', path, headers: { 'content-type': contentType }, body }
    })
}

function readings(target: FuzzTarget): fc.Arbitrary<FuzzRequest> {
  const query = fc.constantFrom(
    '',
    '?k=5',
    '?k=x',
    '?k=-1',
    '?k=1e9',
    '?object=0',
    '?object=99',
    '?generation=g0',
    '?generation=%00',
    '?limit=0',
    '?after=zz',
    '?index=1e400',
    '?k=1&k=2',
    '?__proto__=1',
    '?%zz',
  )
  const template = fc.constantFrom(
    '/v1/items/:id',
    '/v1/items/:id/similar',
    '/v1/items/:id/image',
    '/v1/receipts/:id',
    '/v1/blobs/:id',
    '/v1/admin/dead-letters/:id',
    '/v1/admin/dead-letters',
    '/v1/admin/models',
    '/v1/admin/generations',
    '/v1/status',
    '/samples/:id',
    '/:id',
  )
  return fc.record({ template, id: pathParts(target), query }).map(({ template: path, id, query: asked }) => ({
    kind: 'read',
    method: 'GET',
    path: path.replace(':id', () => id) + asked,
    headers: {},
    body: null,
  }))
}

/** Other methods, content types and headers, and bodies that are no JSON. */
function strangers(): fc.Arbitrary<FuzzRequest> {
  const path = fc.constantFrom(
    '/v1/search',
    '/v1/items/a',
    '/v1/items',
    '/v1/blobs',
    '/v1/status',
    '/healthz',
    '/',
    '/nope',
  )
  const token = fc.string({ unit: fc.constantFrom(...'abcxyz0159 ;=/",*\t'), maxLength: 40 })
  const header = fc.constantFrom(
    'content-type',
    'accept',
    'if-none-match',
    'traceparent',
    'authorization',
    'x-api-key',
    'range',
    'expect-ct',
  )
  const body = fc.oneof(
    fc
      .constantFrom(
        '[',
        '{"k":',
        '\u0000',
        '[[[['.repeat(2_000),
        `{"a":${'['.repeat(3_000)}`,
        '1e999',
        '"\\ud800"',
        'null',
      )
      .map(text => Buffer.from(text)),
    fc.uint8Array({ maxLength: 200 }),
  )
  const type = fc.constantFrom(
    'application/json',
    'application/json; charset=utf-16',
    'text/html',
    'application/x-ndjson',
    '',
  )
  return fc
    .record({
      method: fc.constantFrom('POST', 'PUT', 'PATCH', 'DELETE', 'OPTIONS', 'GET'),
      path,
      headers: fc.dictionary(header, token, { maxKeys: 3 }),
      type,
      body,
    })
    .map(({ method, path: where, headers, type: contentType, body: bytes }) => ({
      kind: 'stranger',
      method,
      path: where,
      headers: { ...trimmed(headers), ...(contentType === '' ? {} : { 'content-type': contentType }) },
      body: method === 'GET' ? null : bytes,
    }))
}

function trimmed(headers: Readonly<Record<string, string>>): Record<string, string> {
  return Object.fromEntries(Object.entries(headers).map(([name, value]) => [name, value.trim()]))
}

const json = { 'content-type': 'application/json' }

function jsonPosts(kind: string, path: string, values: fc.Arbitrary<Json>): fc.Arbitrary<FuzzRequest> {
  return jsonBodies(values).map(body => ({ kind, method: 'POST', path, headers: json, body }))
}

/** Mostly whole; now and then cut short. */
function jsonBodies(values: fc.Arbitrary<Json>): fc.Arbitrary<Uint8Array> {
  const cut = fc.oneof({ weight: 11, arbitrary: fc.constant(null) }, { weight: 1, arbitrary: fc.nat(400) })
  return fc.tuple(values, cut).map(([value, at]) => {
    const bytes = Buffer.from(toText(value))
    return at === null ? bytes : bytes.subarray(0, at)
  })
}

function toText(value: Json): string {
  return JSON.stringify(value) ?? ''
}

function anyOf(shape: TSchema): fc.Arbitrary<Json> {
  return fc.oneof(valuesOf(shape), nearlyOf(shape), hostileValues)
}

function itemIds({ itemIds: known }: FuzzTarget): fc.Arbitrary<string> {
  return fc.oneof(
    fc.constantFrom(...known),
    fc.string({ maxLength: 20 }),
    fc.constantFrom('', '\u0007', 'x'.repeat(600)),
  )
}

/** As they stand in a path: encoded, or not, or wrongly. */
function pathParts(target: FuzzTarget): fc.Arbitrary<string> {
  return fc.oneof(
    itemIds(target).map(id => encodeURIComponent(id.toWellFormed())),
    fc.constantFrom(
      '%',
      '%zz',
      '%00',
      '%ff',
      '..%2f..%2fetc',
      '..',
      '%2e%2e',
      'a%2fb',
      'a;b',
      '0'.repeat(64),
      'x'.repeat(9_000),
    ),
    fc.string({ unit: fc.constantFrom(...'abz019.-_~%'), maxLength: 30 }),
  )
}

/** As they are, cut short, with a byte changed, or no pictures at all. */
function pictures({ pictures: known }: FuzzTarget): fc.Arbitrary<Uint8Array> {
  const one = fc.constantFrom(...known)
  return fc.oneof(
    one,
    fc.tuple(one, fc.nat()).map(([bytes, at]) => bytes.subarray(0, at % (bytes.length + 1))),
    fc
      .tuple(one, fc.nat(), fc.integer({ min: 0, max: 255 }))
      .map(([bytes, at, value]) => bytes.with(at % bytes.length, value)),
    fc.uint8Array({ maxLength: 100 }),
  )
}
