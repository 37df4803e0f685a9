import { createServer } from 'node:http'
import type { AddressInfo } from 'node:net'
import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import { FreshetClient } from '../schemas/client.ts'
import type { BulkAnswer, BulkLine } from '../schemas/http-items.ts'
import {
  fingerprint,
  type GatewayFixture,
  hit,
  itemId,
  openGateway,
  picture,
  snapshot,
  unitVector,
  wholePicture,
} from './testing/gateway-fixture.ts'

let gateway: GatewayFixture
let client: FreshetClient

beforeEach(async () => {
  gateway = await openGateway({ options: { metricsText: async () => '# TYPE of_tests gauge\n' } })
  gateway.replica.hits = [hit('sofa', 0.9)]
  client = new FreshetClient({ baseUrl: `${await gateway.app.listen({ host: '127.0.0.1', port: 0 })}/` })
})

afterEach(() => gateway.close())

const item = { itemId: 'a/b 😀', images: ['https://shop.example/a.jpg'] }

/** Of each operation, by its id. */
const methodOf = {
  search: 'search',
  detect: 'detect',
  getItem: 'item',
  similarItems: 'similar',
  getItemImage: 'itemImage',
  putItem: 'publish',
  deleteItem: 'delete',
  publishItems: 'bulk',
  getReceipt: 'receipt',
  putBlob: 'putBlob',
  getBlob: 'blob',
  reportEngagements: 'engage',
  getStatus: 'status',
  getQuality: 'quality',
  streamStatus: 'events',
  getMetrics: 'metrics',
  isAlive: 'alive',
  isReady: 'ready',
  listDeadLetters: 'deadLetters',
  getDeadLetter: 'deadLetter',
  redriveDeadLetter: 'redriveDeadLetter',
  dropDeadLetter: 'dropDeadLetter',
  listModels: 'models',
  registerModel: 'registerModel',
  listGenerations: 'generations',
  getGeneration: 'generation',
  getEvidence: 'evidence',
  buildGeneration: 'buildGeneration',
  pauseGeneration: 'pauseGeneration',
  resumeGeneration: 'resumeGeneration',
  verifyGeneration: 'verifyGeneration',
  canaryGeneration: 'canaryGeneration',
  routeGeneration: 'routeGeneration',
  rollbackGeneration: 'rollbackGeneration',
  retireGeneration: 'retireGeneration',
  backup: 'backup',
  snapshot: 'snapshot',
} as const satisfies Readonly<Record<string, keyof FreshetClient>>

async function all(answers: AsyncIterable<BulkAnswer>): Promise<readonly BulkAnswer[]> {
  const read: BulkAnswer[] = []
  for await (const answer of answers) read.push(answer)
  return read
}

describe('the client', () => {
  test('searches by picture, reference and vector', async () => {
    const { blob, bytes } = await client.putBlob(picture)
    expect(bytes).toBe(picture.length)
    expect(Buffer.from(await client.blob(blob))).toEqual(picture)
    const found = [
      await client.searchImage(picture, { k: 1 }),
      await client.search({ image: { blob }, k: 1 }),
      await client.search({ vector: [...unitVector], fingerprint }),
    ]
    for (const answer of found) expect(answer.results.map(result => result.itemId)).toEqual(['sofa'])
    expect((await client.detectImage(picture)).image.blob).toBe(blob)
    expect((await client.detect({ image: { blob } })).objects).toHaveLength(1)
  })

  test('publishes, follows and deletes an item', async () => {
    const accepted = await client.publish(item)
    expect(accepted.itemId).toBe(item.itemId)
    expect((await client.receipt(accepted.receipt)).status).toBe('accepted')
    const offset = Number(accepted.version)
    gateway.replica.set(itemId(item.itemId), {
      attributes: offset + 9,
      objects: offset + 9,
      searchable: true,
      snapshot: snapshot(item.itemId),
      objectList: [{ box: wholePicture, label: '', score: 1, image: 0 }],
    })
    gateway.replica.setVector(itemId(item.itemId), 0, unitVector)
    expect((await client.receipt(accepted.receipt)).status).toBe('superseded')
    expect((await client.publishAndWait(item)).status).toBe('superseded')
    expect((await client.item(item.itemId)).searchable).toBe(true)
    expect((await client.similar(item.itemId, { k: 3 })).results).toHaveLength(1)
    expect((await client.delete(item.itemId)).itemId).toBe(item.itemId)
    expect((await client.deleteAndWait(item.itemId, { timeoutMs: 0 })).itemId).toBe(item.itemId)
  })

  test('reports, watches and administers', async () => {
    expect(await client.engage([{ queryId: 'q', itemId: 'sofa', action: 'click', position: 0 }])).toEqual({
      accepted: 1,
    })
    expect((await client.status()).ready).toBe(true)
    expect((await client.quality()).generations).toEqual([])
    expect((await client.models()).models).toHaveLength(1)
    expect((await client.generations()).generations).toHaveLength(1)
    expect((await client.deadLetters({ limit: 5 })).deadLetters).toEqual([])
    for (const call of [
      () => client.deadLetter('0-1'),
      () => client.redriveDeadLetter('0-1'),
      () => client.dropDeadLetter('0-1'),
    ])
      await expect(call()).rejects.toMatchObject({ code: 'dead-letter-not-found' })
    await client.alive()
    await client.ready()
    expect(await client.metrics()).toBe('# TYPE of_tests gauge\n')
    for await (const { status } of client.events()) {
      expect(status.ready).toBe(true)
      break
    }
    expect((await client.backup('/some/where')).bytes).toBe(99)
    expect((await client.snapshot({ directory: '/some/where', shard: 0 })).shards).toHaveLength(1)
  })

  test('has every operation of the API', async () => {
    const { paths } = (await gateway.app.inject('/openapi.json')).json() as { readonly paths: Record<string, object> }
    const operations = Object.values(paths).flatMap(methods =>
      Object.values(methods as Record<string, { readonly operationId: string }>).map(each => each.operationId),
    )
    expect(operations.toSorted()).toEqual(Object.keys(methodOf).toSorted())
    for (const method of Object.values(methodOf)) expect(client[method]).toBeInstanceOf(Function)
  })

  test('streams any number of lines', async () => {
    function* lines(): Generator<BulkLine> {
      for (let i = 0; i < 20_000; i++) yield { upsert: { ...item, itemId: `item-${i}` } }
    }
    const answers = await all(client.bulk(lines()))
    expect(answers).toHaveLength(20_000)
    expect(answers.every((answer, i) => answer.line === i + 1 && 'receipt' in answer)).toBe(true)
  })

  test('sends what there is when its source pauses', async () => {
    const answered = Promise.withResolvers<void>()
    async function* lines(): AsyncGenerator<BulkLine> {
      yield { delete: { itemId: 'first' } }
      await answered.promise
      yield { itemId: 'second', deleted: true }
    }
    const read: number[] = []
    for await (const { line } of client.bulk(lines())) {
      read.push(line)
      answered.resolve()
    }
    expect(read).toEqual([1, 2])
  })
})

describe('a failure', () => {
  test('has the server’s code, message and details', async () => {
    await expect(client.publish({ itemId: 'a', images: [] })).rejects.toMatchObject({
      name: 'FreshetError',
      code: 'image-missing',
    })
    await expect(client.search({ vector: [1], fingerprint: 'cd' })).rejects.toMatchObject({
      code: 'fingerprint-mismatch',
      details: { expected: fingerprint },
    })
    await expect(client.item('ghost')).rejects.toMatchObject({ code: 'item-not-found', retryable: false })
  })

  test('of image work is thrown by the call that waits for it', async () => {
    const { version } = await client.publish(item)
    gateway.replica.set(itemId(item.itemId), {
      attributes: Number(version) + 1,
      failure: Number(version) + 1,
      failureDetail: { code: 'image-corrupt', message: 'damaged', retryable: false },
    })
    await expect(client.publishAndWait(item)).rejects.toMatchObject({
      code: 'image-corrupt',
      details: { status: 'failed' },
    })
  })

  test('of the caller’s own lines is thrown as it is', async () => {
    const own = new Error('cannot read the file')
    async function* lines(): AsyncGenerator<BulkLine> {
      yield { delete: { itemId: 'a' } }
      throw own
    }
    await expect(all(client.bulk(lines()))).rejects.toBe(own)
  })

  test('to reach a server is not-ready', async () => {
    await gateway.app.close()
    await expect(client.status()).rejects.toMatchObject({ code: 'not-ready', retryable: true })
    await expect(all(client.bulk([{ delete: { itemId: 'a' } }]))).rejects.toMatchObject({ code: 'not-ready' })
  })

  test('given up by the caller is a timeout', async () => {
    await expect(client.status({ signal: AbortSignal.abort() })).rejects.toMatchObject({ code: 'timeout' })
  })

  test('of something that is not Freshet is told as such', async () => {
    const other = createServer((_request, response) => response.writeHead(502).end('<h1>Bad gateway</h1>'))
    await new Promise<void>(resolve => other.listen(0, '127.0.0.1', resolve))
    const { port } = other.address() as AddressInfo
    const astray = new FreshetClient({ baseUrl: `http://127.0.0.1:${port}` })
    await expect(astray.status()).rejects.toMatchObject({ code: 'not-ready', message: expect.stringContaining('502') })
    await new Promise(resolve => other.close(resolve))
  })
})
