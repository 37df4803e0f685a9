import { afterEach, beforeEach, describe, expect, test } from 'vitest'
import type { DeadLetter } from '../schemas/dead-letter.ts'
import type { EmbedJob } from '../schemas/embed-job.ts'
import { FreshetError } from '../schemas/errors.ts'
import { GenerationList, ModelList } from '../schemas/http-generations.ts'
import { EngagementAccepted } from '../schemas/http-items.ts'
import {
  BackupAnswer,
  DeadLetterDetail,
  DeadLetterList,
  Dropped,
  type GenerationQuality,
  LiveEvent,
  Quality,
  Redriven,
  SnapshotAnswer,
  Status,
} from '../schemas/http-operations.ts'
import { asOffset, asPartition, type Generation, type ImageDigest } from '../schemas/ids.ts'
import { engagementTopic } from '../schemas/topics.ts'
import { RateWindow } from './request-meter.ts'
import { expectShape } from './testing/expect-shape.ts'
import {
  allPartitions,
  fingerprint,
  type GatewayFixture,
  generation,
  hit,
  itemId,
  openGateway,
  topicEpoch,
  unitVector,
} from './testing/gateway-fixture.ts'
import { TableReplica } from './testing/table-replica.ts'

let gateway: GatewayFixture

beforeEach(async () => {
  gateway = await openGateway()
})

afterEach(() => gateway.close())

const get = async (url: string, of = gateway) => (await of.app.inject(url)).json()

test('quality tells of the searches of each generation, and which were chosen from', async () => {
  const post = (url: string, payload: object) => gateway.app.inject({ method: 'POST', url, payload })
  gateway.replica.hits = [hit('a', 0.8), hit('b', 0.6)]
  const { queryId } = (await post('/v1/search', { vector: [...unitVector], fingerprint })).json()
  gateway.replica.trouble = new FreshetError('storage-failed', 'disk')
  expect((await post('/v1/search', { vector: [...unitVector], fingerprint })).statusCode).toBe(503)
  expect((await post('/v1/search', { vector: [1], fingerprint })).statusCode).toBe(422)
  await post('/v1/engagements', { engagements: [{ queryId, itemId: 'a', action: 'click', position: 0 }] })
  const quality = await get('/v1/quality')
  expectShape(Quality, quality)
  const [{ id, points }] = quality.generations as Quality['generations'] & [GenerationQuality]
  expect(id).toBe('g1')
  const sum = (field: 'searches' | 'failed' | 'degraded' | 'withoutResults' | 'engaged') =>
    points.reduce((total, point) => total + point[field], 0)
  expect((['searches', 'failed', 'degraded', 'withoutResults', 'engaged'] as const).map(sum)).toEqual([1, 1, 0, 0, 1])
  expect(points.find(({ similarity }) => similarity !== null)!.similarity).toBeCloseTo(0.8)
})

describe('status', () => {
  test('tells items, shards, generations and the pipeline', async () => {
    gateway.replica.indexAgeMs = 40
    const status = await get('/v1/status')
    expectShape(Status, status)
    expect(status).toMatchObject({
      ready: true,
      items: { searchable: 3, pending: 1, failed: 0, deleted: 2 },
      indexAgeMs: 40,
      rates: { searchable: 12, accepted: 0, searches: 0 },
      generations: [
        {
          id: 'g1',
          model: 'v1',
          state: 'active',
          share: 1,
          items: { searchable: 3, pending: 1 },
          indexAgeMs: 40,
          replicas: { ready: 1, total: 1 },
          held: true,
        },
      ],
      pipeline: { queue: { live: 1, standby: 0, backfill: 5, delayed: 2, claimed: 3 }, deadLetters: 0 },
    })
    expect(status.shards[0]!.replicas[0]).toMatchObject({
      id: 'r0',
      state: 'ready',
      watermark: { 0: '7' },
      // Four partitions of f…f and 0…01: sums mod 2^128.
      digest: { set: `${'f'.repeat(31)}c`, objects: `${'0'.repeat(31)}4` },
    })
  })

  test('counts the freshest replica of each shard of the generation with the largest share', async () => {
    const replicas = [
      new TableReplica({ shard: 0, replica: 'a', partitions: [asPartition(0)] }),
      new TableReplica({ shard: 0, replica: 'b', partitions: [asPartition(0)] }),
      new TableReplica({ shard: 1, replica: 'c', partitions: [asPartition(1)] }),
      new TableReplica({ shard: 0, replica: 'd', generation: 'g2', partitions: allPartitions }),
    ]
    replicas[0]!.state = 'catching-up'
    replicas[0]!.indexAgeMs = 9_000
    replicas[2]!.indexAgeMs = 70
    const routing = () => [
      { ...generation, shards: 2, share: 0.9 },
      { ...generation, generation: 'g2' as Generation, share: 0.1 },
    ]
    const several = await openGateway({ replicas, ports: { routing } })
    const status = await get('/v1/status', several)
    expect(status).toMatchObject({ ready: true, items: { searchable: 6 }, indexAgeMs: 70 })
    expect(status.shards.map(({ replicas: views }: Status['shards'][number]) => views.map(({ id }) => id))).toEqual([
      ['a', 'b', 'd'],
      ['c'],
    ])
    replicas[2]!.state = 'stopped'
    const without = await get('/v1/status', several)
    expectShape(Status, without)
    expect(without.ready).toBe(false)
    expect(without.shards[1]!.replicas[0]).toMatchObject({ id: 'c', state: 'unreachable', reason: 'stopped' })
    expect((await several.app.inject('/readyz')).statusCode).toBe(503)
    await several.close()
  })

  test('is not ready before a role has started, or without a generation; alive all the same', async () => {
    for (const ports of [{ ready: () => false }, { routing: () => [] }]) {
      const starting = await openGateway({ ports })
      const response = await starting.app.inject('/readyz')
      expect([response.statusCode, response.json().error.code, response.headers['retry-after']]).toEqual([
        503,
        'not-ready',
        '1',
      ])
      expect((await starting.app.inject('/healthz')).json()).toEqual({ ok: true })
      expect((await get('/v1/status', starting)).ready).toBe(false)
      await starting.close()
    }
    expect((await gateway.app.inject('/readyz')).json()).toEqual({ ok: true })
  })

  test('rates are over the last ten seconds', () => {
    let now = 100_000
    const rate = new RateWindow(() => now)
    rate.add(30)
    now += 4_000
    rate.add(20)
    expect(rate.perSecond()).toBe(5)
    now += 6_000
    expect(rate.perSecond()).toBe(2)
    now += 3_600_000
    expect(rate.perSecond()).toBe(0)
  })
})

test('metrics are the text of whatever collects them', async () => {
  const collected = await openGateway({ options: { metricsText: async () => 'freshet_ready 1\n' } })
  const { headers, body } = await collected.app.inject('/metrics')
  expect([headers['content-type'], body]).toEqual(['text/plain; version=0.0.4; charset=utf-8', 'freshet_ready 1\n'])
  await collected.close()
})

describe('events', () => {
  test('are sent every second, to a bounded number of clients, and end when the server drains', async () => {
    const recentItems = () => [{ itemId: 'a', title: 'A', digest: 'ab'.repeat(32) as ImageDigest, atMs: 5 }]
    const live = await openGateway({ ports: { recentItems }, options: { maxEventStreams: 1 } })
    const url = await live.app.listen({ host: '127.0.0.1', port: 0 })
    const response = await fetch(`${url}/v1/events`)
    expect(response.headers.get('content-type')).toContain('text/event-stream')
    const refused = await fetch(`${url}/v1/events`)
    expect(refused.status).toBe(503)
    expect(await refused.json()).toMatchObject({ error: { code: 'overloaded' } })
    const reader = response.body!.pipeThrough(new TextDecoderStream()).getReader()
    let text = ''
    while (text.split('\n\n').length < 3) text += (await reader.read()).value
    const [first] = text.split('\n\n')
    expect(first).toMatch(/^event: status\ndata: /)
    const event = JSON.parse(first!.slice(first!.indexOf('{')))
    expectShape(LiveEvent, event)
    expect(event.recent).toEqual([{ itemId: 'a', title: 'A', blob: `blob:${'ab'.repeat(32)}`, atMs: 5 }])
    const closed = live.close()
    let end = await reader.read()
    while (!end.done) end = await reader.read()
    await closed
  })
})

describe('dead letters', () => {
  const job: EmbedJob = {
    generation: 'g1' as Generation,
    itemId: itemId('sofa'),
    partition: asPartition(3),
    version: { epoch: topicEpoch, offset: asOffset(17) },
    imageIdentity: '[]',
    images: ['https://a.example/'],
    refresh: false,
    acceptedAtMs: 1,
    pendingSinceMs: 1,
    traceparent: '',
  }
  const letter: DeadLetter = {
    type: 'DeadLetter',
    sourceTopic: 'freshet.catalog',
    sourcePartition: 3,
    sourceOffset: 17,
    generation: 'g1',
    stage: 'decode',
    code: 'image-corrupt',
    message: 'damaged',
    attempts: 3,
    failedAtMs: 9,
    traceparent: 'tp',
    key: Buffer.from('sofa'),
    value: Buffer.from([0, 255]),
    job,
  }

  beforeEach(() => {
    gateway.letters.letters = [
      { id: '0-2', letter },
      { id: '0-1', letter: { ...letter, job: null, generation: '', stage: 'dispatch', value: null } },
      { id: '0-0', letter: { ...letter, job: null, key: Buffer.from([0xff, 0]) } },
    ]
  })

  test('are listed page by page', async () => {
    const first = await get('/v1/admin/dead-letters?limit=2')
    expectShape(DeadLetterList, first)
    expect(first.deadLetters.map(({ id, itemId: item, redrivable }) => [id, item, redrivable])).toEqual([
      ['0-2', 'sofa', true],
      ['0-1', 'sofa', false],
    ])
    const rest = await get(`/v1/admin/dead-letters?limit=2&after=${first.next}`)
    expect(rest).toMatchObject({ deadLetters: [{ id: '0-0' }], next: null })
  })

  test('are shown with record and job', async () => {
    const detail = await get('/v1/admin/dead-letters/0-2')
    expectShape(DeadLetterDetail, detail)
    expect(detail).toMatchObject({ sourceOffset: '17', key: 'c29mYQ==', value: 'AP8=', images: job.images })
    expect(await get('/v1/admin/dead-letters/0-1')).toMatchObject({ value: null, images: [] })
  })

  test('are redriven and dropped', async () => {
    const redriven = await gateway.app.inject({ method: 'POST', url: '/v1/admin/dead-letters/0-2/redrive' })
    expectShape(Redriven, redriven.json())
    expect(gateway.letters.redriven).toEqual(['0-2'])
    const jobless = await gateway.app.inject({ method: 'POST', url: '/v1/admin/dead-letters/0-1/redrive' })
    expect([jobless.statusCode, jobless.json().error.code]).toEqual([400, 'bad-request'])
    const dropped = await gateway.app.inject({ method: 'DELETE', url: '/v1/admin/dead-letters/0-2' })
    expectShape(Dropped, dropped.json())
    const gone = await gateway.app.inject('/v1/admin/dead-letters/0-2')
    expect([gone.statusCode, gone.json().error.code]).toEqual([404, 'dead-letter-not-found'])
  })

  test.each(['?limit=0', '?limit=1001', '?limit=many', '?page=2'])('refuse %s', async query => {
    expect((await get(`/v1/admin/dead-letters${query}`)).error.code).toBe('bad-request')
  })
})

describe('administration', () => {
  test('lists generations, and each model once', async () => {
    const routing = () => [generation, { ...generation, generation: 'g2' as Generation, share: 0, state: 'building' }]
    const two = await openGateway({ ports: { routing } })
    const generations = await get('/v1/admin/generations', two)
    expectShape(GenerationList, generations)
    expect(generations.generations.map(({ id, state }: GenerationList['generations'][number]) => [id, state])).toEqual([
      ['g1', 'active'],
      ['g2', 'building'],
    ])
    const models = await get('/v1/admin/models', two)
    expectShape(ModelList, models)
    expect(models.models).toMatchObject([{ model: 'v1', fingerprint, dims: 4 }])
    await two.close()
  })

  test('backs up into an absolute directory', async () => {
    const backup = (payload: object) => gateway.app.inject({ method: 'POST', url: '/v1/admin/backup', payload })
    const answer = (await backup({ directory: '/some/where' })).json()
    expectShape(BackupAnswer, answer)
    expect(answer).toMatchObject({ directory: '/some/where', bytes: 99 })
    expect((await backup({ directory: 'some/where' })).json().error.details).toEqual({ field: 'directory' })
    expect((await backup({})).json().error.code).toBe('bad-request')
  })

  test('writes snapshots into an absolute directory', async () => {
    const snapshot = (payload: object) => gateway.app.inject({ method: 'POST', url: '/v1/admin/snapshots', payload })
    const answer = (await snapshot({ directory: '/some/where', shard: 3 })).json()
    expectShape(SnapshotAnswer, answer)
    expect(answer).toMatchObject({ directory: '/some/where', shards: [{ shard: 3, bytes: 99 }] })
    expect((await snapshot({ directory: 'some/where' })).json().error.details).toEqual({ field: 'directory' })
  })

  test('tells why a backup failed', async () => {
    const backup = async () => {
      throw new FreshetError('storage-full', 'the disk is full')
    }
    const full = await openGateway({ ports: { backup } })
    const response = await full.app.inject({ method: 'POST', url: '/v1/admin/backup', payload: { directory: '/x' } })
    expect([response.statusCode, response.json().error.code]).toEqual([507, 'storage-full'])
    await full.close()
  })
})

describe('engagements', () => {
  const report = (engagements: unknown) =>
    gateway.app.inject({ method: 'POST', url: '/v1/engagements', payload: { engagements } })

  test('go to their topic, those of one query in one partition', async () => {
    const from = new Map(Array.from(await gateway.log.offsets(engagementTopic), ([p, { end }]) => [p, end]))
    const clicks = [0, 1, 2].map(position => ({ queryId: 'q1', itemId: `i${position}`, action: 'click', position }))
    const response = await report(clicks)
    expect(response.statusCode).toBe(202)
    expectShape(EngagementAccepted, response.json())
    const reader = await gateway.log.openReader({ topic: engagementTopic, partitions: allPartitions, from })
    const records = await reader.poll(10, 1_000)
    expect(new Set(records.map(({ partition }) => partition)).size).toBe(1)
    expect(records.map(({ value }) => gateway.codecs.engagement.decode(value!))).toEqual(
      clicks.map(click => ({ type: 'Engaged', ...click, atMs: expect.any(Number) })),
    )
    await reader.close()
  })

  test.each([
    [[]],
    [[{ queryId: 'q', itemId: 'i', action: 'love', position: 0 }]],
    [[{ queryId: 'q', itemId: 'i', action: 'click', position: -1 }]],
    [[{ queryId: '', itemId: 'i', action: 'click', position: 0 }]],
    ['click'],
  ])('%j is refused', async engagements => {
    expect((await report(engagements)).json().error.code).toBe('bad-request')
  })
})
