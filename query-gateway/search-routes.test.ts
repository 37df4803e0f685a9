import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { FreshetError } from '../schemas/errors.ts'
import { DetectAnswer, ItemState, SearchAnswer } from '../schemas/http-search.ts'
import { asOffset, asPartition, type ImageDigest } from '../schemas/ids.ts'
import { expectShape } from './testing/expect-shape.ts'
import {
  allPartitions,
  fingerprint,
  type GatewayFixture,
  generation,
  hit,
  itemId,
  openGateway,
  picture,
  snapshot,
  unitVector,
  wholePicture,
} from './testing/gateway-fixture.ts'
import { TableReplica } from './testing/table-replica.ts'

let gateway: GatewayFixture

beforeEach(async () => {
  gateway = await openGateway()
  gateway.replica.hits = [hit('sofa', 0.9), hit('lamp', 0.8), hit('rug', 0.7)]
})

afterEach(() => gateway.close())

const upload = { base64: picture.toString('base64') }

function search(payload: object, of: GatewayFixture = gateway) {
  return of.app.inject({ method: 'POST', url: '/v1/search', payload })
}

function form(parts: readonly (readonly [name: string, content: string | Buffer, type?: string])[]) {
  const body = parts.map(([name, content, type]) => [
    Buffer.from(
      `--edge\r\ncontent-disposition: form-data; name="${name}"${typeof content === 'string' ? '' : '; filename="p"'}\r\n` +
        `${type === undefined ? '' : `content-type: ${type}\r\n`}\r\n`,
    ),
    Buffer.from(content as string),
    Buffer.from('\r\n'),
  ])
  return {
    headers: { 'content-type': 'multipart/form-data; boundary=edge' },
    payload: Buffer.concat([...body.flat(), Buffer.from('--edge--\r\n')]),
  }
}

describe('a search', () => {
  test('by base64 answers with all that is documented, and no class name of the detector', async () => {
    const response = await search({ image: upload, k: 2 })
    expect(response.statusCode).toBe(200)
    const answer = response.json()
    expectShape(SearchAnswer, answer)
    expect(answer.results.map(result => [result.itemId, result.similarity])).toEqual([
      ['sofa', 0.9],
      ['lamp', 0.8],
    ])
    expect(answer).toMatchObject({
      objects: [{ box: [0, 0, 0.5, 0.5], label: '' }],
      searched: { box: [0, 0, 0.5, 0.5], object: 0 },
      generation: 'g1',
      model: 'v1',
      coverage: { answered: 1, total: 1 },
      degraded: [],
      freshness: { indexAgeMs: 0, watermarks: { 0: '7', 1: '7', 2: '7', 3: '7' } },
      timingMs: { decode: 1, detect: 2, embed: 3 },
    })
    expect(response.body).not.toContain('toilet')
    expect(answer.results[0]).not.toHaveProperty('explain')
    expect(answer).not.toHaveProperty('explain')
  })

  test.each([
    ['nothing', {}, 'salient'],
    ['a box', { box: [0.1, 0.1, 0.9, 0.9] }, { box: [0.1, 0.1, 0.9, 0.9] }],
    ['an object', { object: 0 }, { object: 0 }],
  ])('by a picture with %s asks the model for that', async (_name, more, selection) => {
    expect((await search({ image: upload, ...more })).statusCode).toBe(200)
    expect(gateway.model.asked).toEqual([{ image: { bytes: picture }, selection }])
  })

  test('by data URL, blob and URL reaches the same bytes', async () => {
    const { digest } = await gateway.blobs.put(picture, picture.length)
    const path = gateway.blobs.path(digest)
    const images = [
      { base64: `data:image/png;base64,${upload.base64}` },
      { blob: `blob:${digest}` },
      { url: 'https://a.example/p' },
    ]
    // Each of another part of the picture: of the same one nothing would be asked again.
    for (const [n, image] of images.entries())
      expect((await search({ image, box: [0, 0, (n + 1) / 10, 1] })).statusCode).toBe(200)
    expect(gateway.model.asked.map(({ image }) => image)).toEqual([{ bytes: picture }, { path }, { path }])
  })

  test.each([
    [
      'query before file',
      [
        ['query', '{"k":1,"box":[0,0,1,1]}'],
        ['image', picture],
      ],
    ],
    [
      'file before query',
      [
        ['image', picture],
        ['query', '{"k":1,"box":[0,0,1,1]}'],
      ],
    ],
    [
      'query as JSON part',
      [
        ['image', picture],
        ['query', '{"k":1,"box":[0,0,1,1]}', 'application/json'],
      ],
    ],
  ] as const)('by form, %s', async (_name, parts) => {
    const response = await gateway.app.inject({ method: 'POST', url: '/v1/search', ...form(parts) })
    expect(response.statusCode).toBe(200)
    expect(response.json().results).toHaveLength(1)
    expect(gateway.model.asked).toEqual([{ image: { bytes: picture }, selection: { box: [0, 0, 1, 1] } }])
  })

  test('by item uses its stored vector, and runs no model', async () => {
    gateway.replica.set(itemId('a/b'), {
      attributes: 4,
      objects: 4,
      searchable: true,
      snapshot: snapshot('a/b'),
      objectList: [
        { box: wholePicture, label: '', score: 1, image: 0 },
        { box: [0, 0, 0.2, 0.2], label: 'toilet', score: 0.7, image: 0 },
      ],
    })
    gateway.replica.setVector(itemId('a/b'), 1, unitVector)
    const response = await search({ image: { itemId: 'a/b', object: 1 }, excludeItemId: 'sofa' })
    const answer = response.json()
    expectShape(SearchAnswer, answer)
    expect(answer.searched).toEqual({ box: [0, 0, 0.2, 0.2], object: 1 })
    expect(answer.objects).toHaveLength(2)
    expect(answer.results.map(result => result.itemId)).toEqual(['lamp', 'rug'])
    expect(gateway.replica.searches[0]).toMatchObject({ vector: unitVector, excludeItem: 'sofa', k: 100 })
    expect(gateway.model.asked).toEqual([])
  })

  test('by vector', async () => {
    const response = await search({ vector: [...unitVector], fingerprint, exact: true, explain: true })
    const answer = response.json()
    expectShape(SearchAnswer, answer)
    expect(answer.searched).toEqual({ box: null, object: null })
    expect(answer.results[0]!.explain).toMatchObject({ similarity: 0.9, plan: 'exact', shard: 0, replica: 'r0' })
    expect(answer.explain?.shards).toMatchObject([
      { shard: 0, replica: 'r0', kind: 'graph', segments: [{ by: 'graph' }] },
    ])
  })

  test('passes filters on, single values as lists', async () => {
    const filter = {
      category: 'lamp',
      region: ['de', 'fr'],
      available: true,
      price: { max: 20 },
      attributes: { material: 'brass', seats: [2, 3] },
    }
    await search({ image: upload, filter })
    expect(gateway.replica.searches[0]!.filter).toEqual({
      category: ['lamp'],
      region: ['de', 'fr'],
      available: true,
      price: { max: 20 },
      attributes: { material: ['brass'], seats: [2, 3] },
    })
  })
})

describe('a search is refused', () => {
  test.each<readonly [string, object, number, string, string]>([
    ['no image', {}, 400, 'bad-request', 'image: give either'],
    ['image and vector', { image: upload, vector: [1] }, 400, 'bad-request', 'image: give either'],
    [
      'two kinds of image',
      { image: { ...upload, url: 'https://a.example' } },
      400,
      'bad-request',
      'image: expected one of',
    ],
    [
      'a field that does not exist',
      { image: upload, filters: {} },
      400,
      'bad-request',
      'filters: there is no such field',
    ],
    ['k of 0', { image: upload, k: 0 }, 400, 'bad-request', 'k: '],
    ['k of 201', { image: upload, k: 201 }, 400, 'bad-request', 'k: '],
    ['k as text', { image: upload, k: '5' }, 400, 'bad-request', 'k: expected integer'],
    ['a box outside', { image: upload, box: [0, 0, 1, 1.5] }, 400, 'bad-request', 'box.3: '],
    ['a box inside out', { image: upload, box: [0.5, 0, 0.4, 1] }, 400, 'bad-request', 'box: expected'],
    [
      'box and object',
      { image: upload, box: [0, 0, 1, 1], object: 0 },
      400,
      'bad-request',
      'object: give box or object',
    ],
    ['box of an item', { image: { itemId: 'a' }, box: [0, 0, 1, 1] }, 400, 'bad-request', 'box: only with a picture'],
    ['an object that is not there', { image: upload, object: 3 }, 404, 'object-not-found', ''],
    ['base64 that is none', { image: { base64: 'ä' } }, 400, 'bad-request', 'image.base64: expected base64'],
    ['an empty picture', { image: { base64: 'data:image/png;base64,' } }, 422, 'image-empty', ''],
    ['a file URL', { image: { url: 'file:///etc/passwd' } }, 422, 'image-scheme', ''],
    ['an unknown blob', { image: { blob: `blob:${'0'.repeat(64)}` } }, 404, 'blob-not-found', ''],
    ['an unknown item', { image: { itemId: 'ghost' } }, 404, 'item-not-found', ''],
    ['a bad item id', { image: { itemId: '' } }, 400, 'bad-item-id', ''],
    ['an unknown generation', { image: upload, generation: 'g9' }, 400, 'bad-request', 'generation: '],
    ['a vector without fingerprint', { vector: [1, 0, 0, 0] }, 400, 'bad-request', 'fingerprint: '],
    ['a foreign vector', { vector: [1, 0, 0, 0], fingerprint: 'cd' }, 422, 'fingerprint-mismatch', ''],
    ['a short vector', { vector: [1], fingerprint }, 422, 'vector-dimension', 'vector: '],
    ['a long vector', { vector: [3, 0, 0, 0], fingerprint }, 422, 'vector-not-unit', 'vector: '],
  ])('%s', async (_name, payload, status, code, message) => {
    const response = await search(payload)
    expect(response.json().error).toMatchObject({ code, message: expect.stringContaining(message) })
    expect(response.statusCode).toBe(status)
  })

  test.each([
    ['a form without a file', [['query', '{}']], 400, 'bad-request', 'image: '],
    [
      'a form with another part',
      [
        ['image', picture],
        ['k', '3'],
      ],
      400,
      'bad-request',
      'not "k"',
    ],
    [
      'a form whose query is no JSON',
      [
        ['image', picture],
        ['query', '{k:1}'],
      ],
      400,
      'bad-request',
      'query: ',
    ],
    [
      'a form whose query is not the shape',
      [
        ['image', picture],
        ['query', '{"k":"1"}'],
      ],
      400,
      'bad-request',
      'k: ',
    ],
    ['an empty file', [['image', Buffer.alloc(0)]], 422, 'image-empty', ''],
  ] as const)('%s', async (_name, parts, status, code, message) => {
    const response = await gateway.app.inject({ method: 'POST', url: '/v1/search', ...form(parts) })
    expect(response.json().error).toMatchObject({ code, message: expect.stringContaining(message) })
    expect(response.statusCode).toBe(status)
  })

  test('a picture over the limit, in every form', async () => {
    const small = await openGateway({ options: { imageMaxBytes: 20 } })
    const byForm = await small.app.inject({ method: 'POST', url: '/v1/search', ...form([['image', picture]]) })
    for (const response of [byForm, await search({ image: upload }, small)])
      expect([response.statusCode, response.json().error.code]).toEqual([413, 'image-too-large'])
    await small.close()
  })

  test('what the model refuses', async () => {
    gateway.model.trouble = new FreshetError('image-corrupt', 'the picture is truncated')
    const response = await search({ image: upload })
    expect(response.statusCode).toBe(422)
    expect(response.json()).toEqual({
      error: { code: 'image-corrupt', message: 'the picture is truncated', retryable: false },
    })
  })
})

describe('time and load', () => {
  test('a query past its deadline is a timeout', async () => {
    gateway.model.gate = new Promise(() => undefined)
    const response = await search({ image: upload, deadlineMs: 20 })
    expect([response.statusCode, response.json().error]).toEqual([
      504,
      expect.objectContaining({ code: 'timeout', retryable: true }),
    ])
  })

  test('queries beyond the bounds are refused at once', async () => {
    const { promise: gate, resolve: open } = Promise.withResolvers<void>()
    const options = { maxConcurrentPictures: 1, maxQueuedQueries: 1, maxQueueMs: 60_000 }
    const narrow = await openGateway({ options })
    narrow.model.gate = gate
    const admitted = [search({ image: upload }, narrow), search({ image: upload }, narrow)]
    await vi.waitUntil(() => narrow.model.asked.length === 1)
    const refused = await search({ image: upload }, narrow)
    expect([refused.statusCode, refused.json().error.code]).toEqual([503, 'overloaded'])
    expect(refused.headers['retry-after']).toBe('1')
    open()
    expect((await Promise.all(admitted)).map(({ statusCode }) => statusCode)).toEqual([200, 200])
    await narrow.close()
  })
})

describe('detection', () => {
  const detect = (payload: object) => gateway.app.inject({ method: 'POST', url: '/v1/detect', payload })

  test('stores the picture for the search that follows', async () => {
    const answer = (await detect({ image: upload })).json()
    expectShape(DetectAnswer, answer)
    expect(answer).toMatchObject({ generation: 'g1', objects: [{ label: '' }], image: { width: 40, height: 30 } })
    const { blob } = answer.image
    expect((await search({ image: { blob }, box: [0, 0, 1, 1] })).statusCode).toBe(200)
  })

  test('by form', async () => {
    const response = await gateway.app.inject({ method: 'POST', url: '/v1/detect', ...form([['image', picture]]) })
    expectShape(DetectAnswer, response.json())
  })

  test('goes on without storing when the store is full', async () => {
    gateway.blobs.trouble = new FreshetError('blob-store-full', 'full')
    const response = await detect({ image: upload })
    expect([response.statusCode, response.json().image.blob]).toEqual([200, null])
  })

  test('of an item looks at its first stored picture', async () => {
    const { digest } = await gateway.blobs.put(picture, picture.length)
    gateway.replica.set(itemId('a'), { snapshot: snapshot('a', { imageDigests: [digest] }) })
    expect((await detect({ image: { itemId: 'a' } })).json().image.blob).toBe(`blob:${digest}`)
    expect((await detect({ image: { itemId: 'b' } })).json().error.code).toBe('item-not-found')
  })

  test('needs an image', async () => {
    expect((await detect({})).json().error).toMatchObject({
      code: 'bad-request',
      message: expect.stringContaining('image: '),
    })
  })
})

describe('an item', () => {
  const ids = ['plain', 'a/b/../c', 'a%2Fb', 'émoji 😀?#', '😀'.repeat(128), 'similar', 'x/similar']

  test.each(ids)('is found under its percent-encoded id %s', async id => {
    const digest = 'ef'.repeat(32) as ImageDigest
    gateway.replica.set(itemId(id), {
      attributes: 4,
      objects: 3,
      failure: 4,
      failureDetail: { code: 'image-corrupt', message: 'damaged', retryable: false },
      searchable: true,
      snapshot: snapshot(id, { stale: true, imageDigests: [digest] }),
      objectList: [{ box: wholePicture, label: 'toilet', score: 1, image: 0 }],
    })
    const response = await gateway.app.inject(`/v1/items/${encodeURIComponent(id)}`)
    expect(response.statusCode).toBe(200)
    const item = response.json()
    expectShape(ItemState, item)
    expect(item).toMatchObject({
      itemId: id,
      version: '4',
      stale: true,
      searchable: true,
      blobs: [`blob:${digest}`],
      objects: [{ label: '' }],
      failure: { code: 'image-corrupt' },
    })
  })

  test('that is deleted or unknown is 404', async () => {
    gateway.replica.set(itemId('gone'), { attributes: 4, removal: 5, snapshot: null })
    for (const id of ['gone', 'ghost']) {
      const response = await gateway.app.inject(`/v1/items/${id}`)
      expect([response.statusCode, response.json().error.code]).toEqual([404, 'item-not-found'])
    }
  })

  test('has similar ones, without itself', async () => {
    gateway.replica.set(itemId('sofa'), {
      attributes: 4,
      objects: 4,
      searchable: true,
      snapshot: snapshot('sofa'),
      objectList: [{ box: wholePicture, label: '', score: 1, image: 0 }],
    })
    gateway.replica.setVector(itemId('sofa'), 0, unitVector)
    const answer = (await gateway.app.inject('/v1/items/sofa/similar?k=1')).json()
    expectShape(SearchAnswer, answer)
    expect(answer.results.map(result => result.itemId)).toEqual(['lamp'])
    const wrong = await gateway.app.inject('/v1/items/sofa/similar?k=zero')
    expect(wrong.json().error).toMatchObject({ code: 'bad-request', message: expect.stringContaining('k: ') })
    const absent = await gateway.app.inject('/v1/items/sofa/similar?object=4')
    expect(absent.json().error.code).toBe('object-not-found')
  })

  test('is asked of the shard that owns its partition', async () => {
    const replicas = allPartitions.map(p => new TableReplica({ shard: p, partitions: [asPartition(p)] }))
    const spread = await openGateway({ replicas, ports: { routing: () => [{ ...generation, shards: 4 }] } })
    for (const replica of replicas)
      for (const id of ['a', 'b', 'c', 'd', 'e'])
        replica.set(itemId(id), { attributes: 1, snapshot: snapshot(id, { version: asOffset(replica.shard) }) })
    for (const id of ['a', 'b', 'c', 'd', 'e']) {
      const { partition } = (await spread.app.inject({ method: 'DELETE', url: `/v1/items/${id}` })).json()
      expect((await spread.app.inject(`/v1/items/${id}`)).json().version).toBe(String(partition))
    }
    await spread.close()
  })
})
