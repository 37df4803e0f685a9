import { afterEach, beforeEach, describe, expect, test, vi } from 'vitest'
import { FreshetError } from '../schemas/errors.ts'
import { Accepted, Receipt } from '../schemas/http-items.ts'
import type { Generation } from '../schemas/ids.ts'
import { catalogTopic } from '../schemas/topics.ts'
import { expectShape } from './testing/expect-shape.ts'
import {
  allPartitions,
  type GatewayFixture,
  generation,
  itemId,
  openGateway,
  partitionOfItem,
  picture,
  snapshot,
} from './testing/gateway-fixture.ts'
import { TableReplica } from './testing/table-replica.ts'

let gateway: GatewayFixture

beforeEach(async () => {
  gateway = await openGateway()
})

afterEach(() => gateway.close())

const images = ['https://shop.example/a.jpg']
const pathOf = (id: string, query = '') => `/v1/items/${encodeURIComponent(id)}${query}`
const put = (id: string, payload: object, query = '', of = gateway) =>
  of.app.inject({ method: 'PUT', url: pathOf(id, query), payload })
const remove = (id: string, query = '') => gateway.app.inject({ method: 'DELETE', url: pathOf(id, query) })
const receiptOf = async (receipt: string) => (await gateway.app.inject(`/v1/receipts/${receipt}`)).json()

describe('publishing', () => {
  test('an item puts its event into the catalog and gives a receipt', async () => {
    const response = await put('a/b 😀', { images, title: 'Lamp', price: 12.5 })
    expect(response.statusCode).toBe(202)
    const accepted = response.json()
    expectShape(Accepted, accepted)
    expect(accepted).toMatchObject({ itemId: 'a/b 😀', partition: partitionOfItem('a/b 😀') })
    expect(response.headers.location).toBe(`/v1/receipts/${accepted.receipt}`)
    expect(await gateway.catalog()).toMatchObject([
      { type: 'ItemUpserted', itemId: 'a/b 😀', title: 'Lamp', price: 12.5 },
    ])
  })

  test('a delete is an event too, whether or not the item exists', async () => {
    expect((await remove('ghost')).statusCode).toBe(202)
    expect(await gateway.catalog()).toEqual([{ type: 'ItemDeleted', itemId: 'ghost' }])
  })

  test('the key is the raw id, and the trace context goes along', async () => {
    const traceparent = '00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01'
    const from = new Map(Array.from(await gateway.log.offsets(catalogTopic), ([p, { end }]) => [p, end]))
    await gateway.app.inject({ method: 'DELETE', url: pathOf('é'), headers: { traceparent } })
    const reader = await gateway.log.openReader({ topic: catalogTopic, partitions: allPartitions, from })
    const [record] = await reader.poll(1, 1_000)
    expect(Buffer.from(record!.key!).toString()).toBe('é')
    expect(record!.headers).toEqual({ traceparent })
    await reader.close()
  })

  test('an item may repeat its id, but not another', async () => {
    expect((await put('a', { itemId: 'a', images })).statusCode).toBe(202)
    const response = await put('a', { itemId: 'b', images })
    expect([response.statusCode, response.json().error.details]).toEqual([400, { field: 'itemId' }])
  })

  test('an item may name a stored blob only', async () => {
    const { digest } = await gateway.blobs.put(picture, picture.length)
    expect((await put('a', { images: [`blob:${digest}`] })).statusCode).toBe(202)
    const response = await put('a', { images: [`blob:${digest}`, `blob:${'0'.repeat(64)}`] })
    expect([response.statusCode, response.json().error.code]).toEqual([404, 'blob-not-found'])
    expect(await gateway.catalog()).toHaveLength(1)
  })

  test.each([
    ['price as text', 'a', { images, price: '12' }, 400, 'bad-request'],
    ['no image', 'a', {}, 400, 'image-missing'],
    ['an image of another scheme', 'a', { imageUrl: 'ftp://a.example/b' }, 422, 'image-scheme'],
    ['an unknown field', 'a', { images, size: 3 }, 400, 'bad-request'],
    ['no object', 'a', [], 400, 'bad-request'],
    ['an id with a control character', 'a\u0007', { images }, 400, 'bad-item-id'],
    ['an id of 513 bytes', 'x'.repeat(513), { images }, 400, 'bad-item-id'],
    ['an id of 4 KB', 'x'.repeat(4096), { images }, 400, 'bad-item-id'],
  ])('%s is refused', async (_name, id, payload, status, code) => {
    const response = await put(id, payload)
    expect([response.statusCode, response.json().error.code]).toEqual([status, code])
    expect(await gateway.catalog()).toEqual([])
  })

  test('a full disk is told', async () => {
    const append = async () => {
      throw new FreshetError('storage-full', 'the disk is full')
    }
    const full = await openGateway({ ports: { log: { append, offsets: gateway.log.offsets.bind(gateway.log) } } })
    const response = await put('a', { images }, '', full)
    expect([response.statusCode, response.json().error]).toEqual([
      507,
      { code: 'storage-full', message: 'the disk is full', retryable: true },
    ])
    await full.close()
  })
})

describe('a receipt', () => {
  test('is computed from the registers of every replica', async () => {
    const { receipt, version } = (await put('a', { images })).json()
    const offset = Number(version)
    gateway.replica.set(itemId('a'), { attributes: offset })
    const pending = await receiptOf(receipt)
    expectShape(Receipt, pending)
    expect(pending).toMatchObject({ receipt, itemId: 'a', version, status: 'accepted', failure: null, stale: false })
    gateway.replica.set(itemId('a'), {
      attributes: offset,
      objects: offset,
      searchable: true,
      snapshot: snapshot('a'),
      times: { attributesMs: 5, objectsMs: 9, removalMs: null, failureMs: null },
    })
    expect(await receiptOf(receipt)).toMatchObject({
      status: 'searchable',
      generations: [
        {
          generation: 'g1',
          share: 1,
          status: 'searchable',
          replicas: [{ shard: 0, replica: 'r0', status: 'searchable', atMs: 9, failure: null, stale: false }],
        },
      ],
    })
  })

  test('of failed image work tells why, and that an older picture is shown', async () => {
    const { receipt, version } = (await put('a', { images })).json()
    const failureDetail = { code: 'image-not-found', message: '404', retryable: false } as const
    gateway.replica.set(itemId('a'), {
      attributes: Number(version),
      failure: Number(version),
      failureDetail,
      snapshot: snapshot('a', { stale: true }),
    })
    expect(await receiptOf(receipt)).toMatchObject({ status: 'failed', failure: failureDetail, stale: true })
  })

  test('is decided by generations with a share; a replica that does not answer holds nothing up', async () => {
    const [serving, dead, idle] = [
      new TableReplica({ replica: 'serving', partitions: allPartitions }),
      new TableReplica({ replica: 'dead', partitions: allPartitions }),
      new TableReplica({ replica: 'idle', generation: 'g2', partitions: allPartitions }),
    ] as const
    dead.state = 'stopped'
    const routing = () => [generation, { ...generation, generation: 'g2' as Generation, share: 0 }]
    const several = await openGateway({ replicas: [serving, dead, idle], ports: { routing } })
    const { receipt, version } = (await put('a', { images }, '', several)).json()
    const offset = Number(version)
    serving.set(itemId('a'), { attributes: offset, objects: offset, searchable: true, snapshot: snapshot('a') })
    const answer = (await several.app.inject(`/v1/receipts/${receipt}`)).json()
    expectShape(Receipt, answer)
    expect(answer.status).toBe('searchable')
    expect(answer.generations.map(({ generation: id, status }) => [id, status])).toEqual([
      ['g1', 'searchable'],
      ['g2', 'accepted'],
    ])
    expect(answer.generations[0]!.replicas.map(({ replica, status }) => [replica, status])).toEqual([
      ['serving', 'searchable'],
      ['dead', 'unreachable'],
    ])
    await several.close()
  })

  test.each(['x', 'AQAAAAAAAACqAAIAAAAAAAABof4RC3NhL2ltYWdlAAAAAA'])('%s was not issued here', async receipt => {
    const response = await gateway.app.inject(`/v1/receipts/${receipt}`)
    expect([response.statusCode, response.json().error.code]).toEqual([400, 'bad-receipt'])
  })
})

describe('waiting until searchable', () => {
  /** The answer, and the offset of the event that is waited for. */
  async function waiting(call: ReturnType<typeof put>) {
    await vi.waitUntil(() => gateway.replica.waiting > 0)
    const { end } = (await gateway.log.offsets(catalogTopic)).get(partitionOfItem('a'))!
    return { answer: call, offset: end - 1 }
  }

  test('answers 200 as soon as it is', async () => {
    const { answer, offset } = await waiting(put('a', { images }, '?wait=searchable&timeoutMs=60000'))
    gateway.replica.set(itemId('a'), { attributes: offset })
    gateway.replica.set(itemId('a'), { attributes: offset, objects: offset, searchable: true, snapshot: snapshot('a') })
    const response = await answer
    expect(response.statusCode).toBe(200)
    const receipt = response.json()
    expectShape(Receipt, receipt)
    expect(receipt.status).toBe('searchable')
    expect(gateway.replica.waiting).toBe(0)
  })

  test('answers 200 when it is removed or superseded', async () => {
    const deleting = await waiting(remove('a', '?wait=searchable&timeoutMs=60000'))
    gateway.replica.set(itemId('a'), { attributes: 0, removal: deleting.offset })
    expect((await deleting.answer).json().status).toBe('removed')
    const publishing = await waiting(put('a', { images }, '?wait=searchable&timeoutMs=60000'))
    gateway.replica.set(itemId('a'), { attributes: publishing.offset + 1, watermark: publishing.offset })
    expect((await publishing.answer).json().status).toBe('superseded')
  })

  test('answers 422 with the code when image work failed', async () => {
    const { answer, offset } = await waiting(put('a', { images }, '?wait=searchable&timeoutMs=60000'))
    gateway.replica.set(itemId('a'), {
      attributes: offset,
      failure: offset,
      failureDetail: { code: 'image-too-large', message: 'too large', retryable: false },
    })
    const response = await answer
    expect(response.statusCode).toBe(422)
    expect(response.json().error).toMatchObject({
      code: 'image-too-large',
      message: 'too large',
      details: { status: 'failed' },
    })
  })

  test('answers when the generation that lacked it has no queries any more', async () => {
    const [first, second] = [
      new TableReplica({ partitions: allPartitions }),
      new TableReplica({ generation: 'g2', partitions: allPartitions }),
    ] as const
    let shares = [0.5, 0.5]
    const routing = () =>
      ['g1', 'g2'].map((name, at) => ({ ...generation, generation: name as Generation, share: shares[at]! }))
    const several = await openGateway({ replicas: [first, second], ports: { routing } })
    const looks = vi.spyOn(second, 'registers')
    const answer = put('a', { images }, '?wait=searchable&timeoutMs=60000', several)
    await vi.waitUntil(() => looks.mock.calls.length === 1 && first.waiting > 0)
    const { end } = (await several.log.offsets(catalogTopic)).get(partitionOfItem('a'))!
    const applied = { attributes: end - 1, objects: end - 1, searchable: true, snapshot: snapshot('a') }
    first.set(itemId('a'), applied)
    // It has looked at the registers again, and goes on waiting for g2.
    await vi.waitUntil(() => looks.mock.calls.length === 2 && second.waiting > 0)
    await new Promise(setImmediate)
    shares = [1, 0]
    const response = await answer
    expect([response.statusCode, response.json().status]).toEqual([200, 'searchable'])
    expect([first.waiting, second.waiting]).toEqual([0, 0])
    await several.close()
  })

  test('answers 202 with how far it got when the time is over', async () => {
    const response = await put('a', { images }, '?wait=searchable&timeoutMs=0')
    expect(response.statusCode).toBe(202)
    expectShape(Receipt, response.json())
    expect(response.json().status).toBe('accepted')
  })

  test('answers 202 when the server drains', async () => {
    const { answer } = await waiting(put('a', { images }, '?wait=searchable&timeoutMs=60000'))
    const closing = gateway.app.close()
    expect((await answer).statusCode).toBe(202)
    await closing
  })

  test('is not done beyond the bound on waits: the event is accepted all the same', async () => {
    const narrow = await openGateway({ options: { maxWaits: 0 } })
    const response = await put('a', { images }, '?wait=searchable', narrow)
    expect(response.statusCode).toBe(202)
    expectShape(Accepted, response.json())
    await narrow.close()
  })

  test.each([
    '?wait=embedded',
    '?wait=searchable&timeoutMs=soon',
    '?wait=searchable&timeoutMs=60001',
    '?wiat=searchable',
  ])('refuses %s before anything is published', async query => {
    const response = await put('a', { images }, query)
    expect([response.statusCode, response.json().error.code]).toEqual([400, 'bad-request'])
    expect(await gateway.catalog()).toEqual([])
  })
})
