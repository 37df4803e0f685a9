import { once } from 'node:events'
import { request as httpRequest } from 'node:http'
import type { FastifyInstance, InjectOptions } from 'fastify'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import type { Fingerprint, Generation } from '../../schemas/ids.ts'
import type { ReplicaState, ShardSearchRequest } from '../../schemas/shard-api.ts'
import { replicaPath, replicaTag, searchRequestWire, wireHeaders } from '../../schemas/shard-wire.ts'
import { generation, ShardOnLog } from '../testing/shard-on-log.ts'
import { createShardServer, type ServedReplica, type ShardServerOptions } from './shard-server.ts'

const dims = 8
const request: ShardSearchRequest = {
  generation,
  fingerprint: 'f'.repeat(64) as Fingerprint,
  vector: Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0),
  k: 3,
}
const payload = searchRequestWire.encode(request)
const json = { 'content-type': 'application/json' }

let shard: ShardOnLog
let app: FastifyInstance | null = null

beforeAll(async () => {
  shard = await ShardOnLog.create(dims)
  await shard.open()
})
afterAll(() => shard.dispose())
afterEach(async () => {
  await app?.close()
  app = null
})

function serve(options: Partial<ShardServerOptions> = {}): FastifyInstance {
  app = createShardServer({ replicas: () => [shard.node], failure: () => null, secret: null, ...options })
  return app
}

/** The node, with other answers where a test wants them. */
function altered(other: Partial<ServedReplica>): ServedReplica {
  const { node } = shard
  const { shard: number, replica, partitions } = node
  return {
    shard: number,
    replica,
    generation,
    partitions,
    state: node.state,
    search: (...asked) => node.search(...asked),
    searchBatch: (...asked) => node.searchBatch(...asked),
    registers: itemId => node.registers(itemId),
    objectVector: (...asked) => node.objectVector(...asked),
    status: () => node.status(),
    changed: (...asked) => node.changed(...asked),
    beginCut: (...asked) => node.beginCut(...asked),
    cutItems: (...asked) => node.cutItems(...asked),
    cutBucket: (...asked) => node.cutBucket(...asked),
    endCut: cut => node.endCut(cut),
    checkpoint: () => node.checkpoint(),
    exportTo: directory => node.exportTo(directory),
    ...other,
  }
}

const path = (what: string): string => `${replicaPath(shard.node.replica)}/${what}`
const search = (of: FastifyInstance, headers: Record<string, string> = {}, body = payload) =>
  of.inject({ method: 'POST', url: path('search'), headers: { ...json, ...headers }, payload: body })

test('an answer names who gave it and which call it answers', async () => {
  const answer = await search(serve(), { [wireHeaders.call]: '17' })
  expect(answer.statusCode).toBe(200)
  expect(answer.headers).toMatchObject({ [wireHeaders.replica]: replicaTag(shard.node), [wireHeaders.call]: '17' })
})

describe('the secret', () => {
  test.each([undefined, 'Bearer hus', 'Bearer hush ', 'Basic hush', 'hush'])('is not %s', async authorization => {
    const server = serve({ secret: 'hush' })
    const answer = await search(server, { [wireHeaders.call]: '3', ...(authorization && { authorization }) })
    expect(answer.statusCode).toBe(401)
    expect(answer.headers).toMatchObject({ 'www-authenticate': 'Bearer', [wireHeaders.call]: '3' })
    expect(answer.json().error.code).toBe('access-denied')
    expect((await server.inject('/healthz')).statusCode).toBe(200)
  })

  test('is asked for on every route of a replica', async () => {
    const server = serve({ secret: 'hush' })
    for (const what of ['registers?itemId=a', 'vector?itemId=a&object=0', 'status', 'changed?itemId=a'])
      expect((await server.inject(path(what))).statusCode).toBe(401)
    for (const what of [
      'search',
      'search-batch',
      'checkpoint',
      'snapshot',
      'cut',
      'cut-items',
      'cut-bucket',
      'cut-end',
    ])
      expect((await server.inject({ method: 'POST', url: path(what), headers: json, payload })).statusCode).toBe(401)
    expect((await search(server, { authorization: 'Bearer hush' })).statusCode).toBe(200)
  })
})

test.each<[string, number, () => InjectOptions]>([
  ['not-found', 404, () => ({ url: '/shard/v1' })],
  ['replica-unavailable', 503, () => ({ url: '/shard/v1/other/status' })],
  ['bad-item-id', 400, () => ({ url: path('changed?itemId=') })],
  ['bad-item-id', 400, () => ({ url: path('registers') })],
  ['bad-request', 400, () => ({ url: path('vector?itemId=a&object=-1') })],
  ['bad-request', 400, () => ({ method: 'POST', url: path('search'), headers: json, payload: '{' })],
  ['bad-request', 400, () => ({ method: 'POST', url: path('snapshot'), headers: json, payload: '{}' })],
  ['bad-request', 400, () => ({ url: path('status'), headers: { [wireHeaders.timeoutMs]: '-1' } })],
  ['body-too-large', 413, () => ({ method: 'POST', url: path('search'), headers: json, payload: ' '.repeat(2_000) })],
])('%s is answered with %i', async (code, status, wrong) => {
  const answer = await serve({ limits: { bodyMaxBytes: 1_000 } }).inject(wrong())
  expect([answer.json().error.code, answer.statusCode]).toEqual([code, status])
})

test('a search of another generation is refused', async () => {
  const other = searchRequestWire.encode({ ...request, generation: 'g2' as Generation })
  expect((await search(serve(), {}, other)).json().error).toMatchObject({ code: 'bad-request', retryable: false })
})

describe('a search is given up', () => {
  /** Aborts like the node, and tells of it. */
  const hanging = (given: PromiseWithResolvers<AbortSignal>): ServedReplica =>
    altered({
      search: (_request, signal) =>
        new Promise((_resolve, reject) => {
          given.resolve(signal!)
          signal!.addEventListener('abort', () => reject(new FreshetError('timeout', 'given up')))
        }),
    })

  test('when its time is over', async () => {
    const given = Promise.withResolvers<AbortSignal>()
    const answer = await search(serve({ replicas: () => [hanging(given)] }), { [wireHeaders.timeoutMs]: '20' })
    expect((await given.promise).aborted).toBe(true)
    expect([answer.statusCode, answer.json().error.code]).toEqual([504, 'timeout'])
  })

  test('when the caller goes away', async () => {
    const given = Promise.withResolvers<AbortSignal>()
    const server = serve({ replicas: () => [hanging(given)] })
    const { port } = new URL(await server.listen({ host: '127.0.0.1', port: 0 }))
    const asking = httpRequest({ port, method: 'POST', path: path('search'), headers: json })
    asking.on('error', () => undefined)
    asking.end(payload)
    const signal = await given.promise
    expect(signal.aborted).toBe(false)
    const aborted = once(signal, 'abort')
    asking.destroy()
    await aborted
  })
})

test('a replica that is not ready says how far it is', async () => {
  const notReady = new FreshetError('not-ready', 'the shard is catching-up')
  const behind = altered({ state: 'catching-up', search: () => Promise.reject(notReady) })
  const answer = await search(serve({ replicas: () => [behind] }))
  expect(answer.statusCode).toBe(503)
  expect(answer.json()).toEqual({
    error: {
      code: 'not-ready',
      message: 'the shard is catching-up',
      retryable: true,
      details: { state: 'catching-up' },
    },
  })
})

describe('probes', () => {
  const inState = (state: ReplicaState, reason: string | null): ServedReplica =>
    altered({ state, status: async () => ({ ...(await shard.node.status()), state, reason }) })

  test.each<[string, readonly (() => ServedReplica)[], string | null]>([
    ['is ready', [() => shard.node], null],
    ['holds nothing', [], 'the process holds no replica'],
    ['catches up', [() => inState('catching-up', null)], 'r0 is catching-up'],
    [
      'refuses in part',
      [() => shard.node, () => inState('refusing', 'a record is lacking')],
      'r0 is refusing: a record is lacking',
    ],
  ])('one that %s', async (_name, replicas, reason) => {
    const server = serve({ replicas: () => replicas.map(replica => replica()) })
    const ready = await server.inject('/readyz')
    expect(ready.statusCode).toBe(reason === null ? 200 : 503)
    if (reason !== null) expect(ready.json().error).toMatchObject({ code: 'not-ready', message: reason })
    expect((await server.inject('/healthz')).statusCode).toBe(200)
  })

  test('one whose follower has failed is not alive', async () => {
    const server = serve({ failure: () => new FreshetError('offset-out-of-range', 'the log begins later') })
    const alive = await server.inject('/healthz')
    expect([alive.statusCode, alive.json().error.code]).toEqual([500, 'offset-out-of-range'])
  })

  test('metrics, where there are some', async () => {
    const metrics = await serve({ metrics: async () => 'freshet_replica_rows 1\n' }).inject('/metrics')
    expect([metrics.body, metrics.headers['content-type']]).toEqual([
      'freshet_replica_rows 1\n',
      'text/plain; version=0.0.4; charset=utf-8',
    ])
    expect((await serve().inject('/metrics')).statusCode).toBe(404)
  })
})

test('closing answers those who wait, takes nothing more, and finishes searches', async () => {
  const [begun, gate] = [Promise.withResolvers<void>(), Promise.withResolvers<void>()]
  const slow = altered({
    search: async asked => {
      begun.resolve()
      await gate.promise
      return shard.node.search(asked)
    },
  })
  const server = serve({ replicas: () => [slow] })
  const address = await server.listen({ host: '127.0.0.1', port: 0 })
  const waiting = await fetch(`${address}${path('changed?itemId=lamp')}`)
  const searching = fetch(`${address}${path('search')}`, { method: 'POST', headers: json, body: payload })
  await begun.promise
  const closing = server.close()
  expect(await waiting.json()).toEqual({ changed: false })
  await expect(fetch(`${address}${path('changed?itemId=lamp')}`)).rejects.toThrow()
  gate.resolve()
  expect((await searching).status).toBe(200)
  await closing
})
