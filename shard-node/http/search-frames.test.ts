import { once } from 'node:events'
import { request as httpRequest, type IncomingMessage } from 'node:http'
import type { Socket } from 'node:net'
import type { FastifyInstance } from 'fastify'
import { afterAll, afterEach, beforeAll, describe, expect, test } from 'vitest'
import { WebSocket } from 'ws'
import { FreshetError } from '../../schemas/errors.ts'
import type { Fingerprint, Generation } from '../../schemas/ids.ts'
import type { ShardSearchRequest } from '../../schemas/shard-api.ts'
import { askFrame, cancelFrame, readAnswerHead, searchesPath } from '../../schemas/shard-frames.ts'
import { replicaTag, searchRequestWire } from '../../schemas/shard-wire.ts'
import { searchResultWire } from '../../schemas/shard-wire-hits.ts'
import { noTrace } from '../../schemas/trace-context.ts'
import { generation, ShardOnLog } from '../testing/shard-on-log.ts'
import { createShardServer, type ServedReplica, type ShardServerOptions } from './shard-server.ts'

const dims = 8
const request: ShardSearchRequest = {
  generation,
  fingerprint: 'f'.repeat(64) as Fingerprint,
  vector: Float32Array.of(1, 0, 0, 0, 0, 0, 0, 0),
  k: 3,
}
const body = searchRequestWire.encode(request)

let shard: ShardOnLog
let app: FastifyInstance | null = null
const gateways: Gateway[] = []

beforeAll(async () => {
  shard = await ShardOnLog.create(dims)
  await shard.open()
})
afterAll(() => shard.dispose())
afterEach(async () => {
  for (const gateway of gateways.splice(0)) gateway.socket.terminate()
  await app?.close()
  app = null
})

async function serve(options: Partial<ShardServerOptions> = {}): Promise<string> {
  app = createShardServer({ replicas: () => [shard.node], failure: () => null, secret: null, ...options })
  return app.listen({ host: '127.0.0.1', port: 0 })
}

interface Answer {
  readonly call: number
  readonly status: number
  readonly tag: string
  readonly text: string
}

/** What asks, by the bare library. */
class Gateway {
  readonly socket: WebSocket
  readonly answers: Answer[] = []
  /** Of the closed connection. */
  closeCode: number | null = null

  constructor(address: string, headers: Record<string, string> = {}) {
    this.socket = new WebSocket(new URL(searchesPath, address), { headers })
    this.socket.on('message', data => {
      const { bodyAt, ...head } = readAnswerHead(data as Buffer)!
      this.answers.push({ ...head, text: String(data).slice(bodyAt) })
    })
    this.socket.on('close', code => {
      this.closeCode = code
    })
    this.socket.on('error', () => undefined)
  }

  static async connect(address: string): Promise<Gateway> {
    const gateway = new Gateway(address)
    gateways.push(gateway)
    await once(gateway.socket, 'open')
    return gateway
  }

  ask(call: number, { replica = shard.node.replica, text = body, timeoutMs = 10_000 } = {}): void {
    this.socket.send(askFrame({ call, replica, timeoutMs, trace: noTrace, body: text }))
  }

  async answered(count: number): Promise<readonly Answer[]> {
    await expect.poll(() => this.answers.length, { timeout: 20_000, interval: 5 }).toBe(count)
    return this.answers
  }

  async closed(): Promise<number | null> {
    await expect.poll(() => this.closeCode, { timeout: 20_000, interval: 5 }).not.toBeNull()
    return this.closeCode
  }
}

/** The node, whose searches hang until the test says otherwise, or they are ended. */
class Hanging {
  readonly signals: AbortSignal[] = []
  readonly gates: PromiseWithResolvers<void>[] = []

  replica(): ServedReplica {
    const search = async (asked: ShardSearchRequest, signal?: AbortSignal) => {
      const gate = Promise.withResolvers<void>()
      this.signals.push(signal!)
      this.gates.push(gate)
      signal!.addEventListener('abort', () => gate.reject(new FreshetError('timeout', 'given up')))
      await gate.promise
      return shard.node.search(asked)
    }
    return new Proxy<ServedReplica>(shard.node, {
      get: (node, name) => (name === 'search' ? search : Reflect.get(node, name, node)),
    })
  }

  async begun(count: number): Promise<void> {
    await expect.poll(() => this.signals.length, { timeout: 20_000, interval: 5 }).toBe(count)
  }

  async aborted(): Promise<void> {
    await expect.poll(() => this.signals.every(({ aborted }) => aborted), { timeout: 20_000, interval: 5 }).toBe(true)
  }
}

const codeOf = ({ text }: Answer): string => JSON.parse(text).error.code

test('a search is answered as the node answers it, by name', async () => {
  const gateway = await Gateway.connect(await serve())
  gateway.ask(17)
  const [answer] = await gateway.answered(1)
  expect(answer).toMatchObject({ call: 17, status: 200, tag: replicaTag(shard.node) })
  const { indexAgeMs: _, ...told } = searchResultWire.decode(answer!.text)
  expect(told).toMatchObject({ hits: [], watermarks: (await shard.node.search(request)).watermarks })
})

describe('an upgrade is refused', () => {
  const upgrade = async (address: string, path: string, headers: Record<string, string> = {}) => {
    const asking = httpRequest(`${address}${path}`, {
      headers: {
        connection: 'upgrade',
        upgrade: 'websocket',
        'sec-websocket-version': '13',
        'sec-websocket-key': 'AAAAAAAAAAAAAAAAAAAAAA==',
        ...headers,
      },
    })
    asking.end()
    const [response] = (await once(asking, 'response')) as [IncomingMessage]
    const text = (await response.toArray()).join('')
    return { status: response.statusCode, headers: response.headers, text }
  }

  test.each([undefined, 'Bearer hus', 'Bearer hushh', 'Basic hush', 'hush'])('that shows %s', async authorization => {
    const address = await serve({ secret: 'hush' })
    const refused = await upgrade(address, searchesPath, authorization === undefined ? {} : { authorization })
    expect(refused).toMatchObject({ status: 401, headers: { 'www-authenticate': 'Bearer' } })
    expect(JSON.parse(refused.text).error.code).toBe('access-denied')
  })

  test.each(['/', '/shard/v1/r0/search', '/shard/v1/r0/status'])('at %s', async path => {
    const refused = await upgrade(await serve(), path)
    expect([refused.status, JSON.parse(refused.text).error.code]).toEqual([404, 'not-found'])
  })

  test('of another version of the protocol', async () => {
    expect((await upgrade(await serve(), searchesPath, { 'sec-websocket-version': '7' })).status).toBe(400)
  })

  test('but an offer of another protocol is passed over', async () => {
    const answered = await upgrade(await serve(), '/healthz', { connection: 'upgrade', upgrade: 'h2c' })
    expect([answered.status, JSON.parse(answered.text)]).toEqual([200, { ok: true }])
  })

  test('and one with the secret is not', async () => {
    const gateway = new Gateway(await serve({ secret: 'hush' }), { authorization: 'Bearer hush' })
    gateways.push(gateway)
    await once(gateway.socket, 'open')
    gateway.ask(0)
    expect((await gateway.answered(1))[0]?.status).toBe(200)
  })
})

describe('an error is its own answer', () => {
  test.each<[string, number, string, object]>([
    ['another replica', 503, 'replica-unavailable', { replica: 'other' }],
    ['no JSON', 400, 'bad-request', { text: '{' }],
    ['another generation', 400, 'bad-request', { text: bodyOf({ generation: 'g2' as Generation }) }],
    ['another model', 422, 'fingerprint-mismatch', { text: bodyOf({ fingerprint: '0'.repeat(64) as Fingerprint }) }],
  ])('%s: %i %s', async (_name, status, code, asked) => {
    const gateway = await Gateway.connect(await serve())
    gateway.ask(0, asked)
    gateway.ask(1)
    const answers = [...(await gateway.answered(2))].sort((one, other) => one.call - other.call)
    expect([answers[0]!.status, codeOf(answers[0]!), answers[1]!.status]).toEqual([status, code, 200])
  })

  function bodyOf(other: Partial<ShardSearchRequest>): string {
    return searchRequestWire.encode({ ...request, ...other })
  }

  test('a replica that is not ready says how far it is', async () => {
    const notReady = new FreshetError('not-ready', 'the shard is catching-up')
    const own: Partial<ServedReplica> = { state: 'catching-up', search: () => Promise.reject(notReady) }
    const behind = new Proxy<ServedReplica>(shard.node, {
      get: (node, name) => Reflect.get(own, name) ?? Reflect.get(node, name, node),
    })
    const gateway = await Gateway.connect(await serve({ replicas: () => [behind] }))
    gateway.ask(0)
    const [answer] = await gateway.answered(1)
    expect(answer?.status).toBe(503)
    expect(JSON.parse(answer!.text).error).toMatchObject({ code: 'not-ready', details: { state: 'catching-up' } })
  })

  test('more searches than one gateway may have in hand', async () => {
    const hanging = new Hanging()
    const limits = { searchesPerGateway: 2 }
    const address = await serve({ replicas: () => [hanging.replica()], limits })
    const [gateway, other] = [await Gateway.connect(address), await Gateway.connect(address)]
    for (const call of [0, 1, 2]) gateway.ask(call)
    const [refused] = await gateway.answered(1)
    expect([refused!.call, codeOf(refused!)]).toEqual([2, 'overloaded'])
    other.ask(0)
    await hanging.begun(3)
    for (const gate of hanging.gates) gate.resolve()
    await gateway.answered(3)
    gateway.ask(3)
    await hanging.begun(4)
  })
})

test('searches are answered as they are done, whichever was asked first', async () => {
  const hanging = new Hanging()
  const gateway = await Gateway.connect(await serve({ replicas: () => [hanging.replica()] }))
  for (const call of [0, 1, 2, 3]) gateway.ask(call)
  await hanging.begun(4)
  for (const [answered, call] of [2, 0, 3, 1].entries()) {
    hanging.gates[call]!.resolve()
    expect((await gateway.answered(answered + 1)).at(-1)?.call).toBe(call)
  }
})

describe('a search is given up', () => {
  test('when its time is over', async () => {
    const hanging = new Hanging()
    const gateway = await Gateway.connect(await serve({ replicas: () => [hanging.replica()] }))
    gateway.ask(0, { timeoutMs: 20 })
    const [answer] = await gateway.answered(1)
    expect([answer!.status, codeOf(answer!)]).toEqual([504, 'timeout'])
    await hanging.aborted()
  })

  test('when it is cancelled: it is not answered, and others are', async () => {
    const hanging = new Hanging()
    const gateway = await Gateway.connect(await serve({ replicas: () => [hanging.replica()] }))
    gateway.ask(0)
    gateway.ask(1)
    await hanging.begun(2)
    gateway.socket.send(cancelFrame(0))
    gateway.socket.send(cancelFrame(7))
    await expect.poll(() => hanging.signals[0]!.aborted).toBe(true)
    expect(hanging.signals[1]!.aborted).toBe(false)
    hanging.gates[1]!.resolve()
    expect((await gateway.answered(1))[0]).toMatchObject({ call: 1, status: 200 })
  })

  test('when the gateway goes away', async () => {
    const hanging = new Hanging()
    const gateway = await Gateway.connect(await serve({ replicas: () => [hanging.replica()] }))
    gateway.ask(0)
    gateway.ask(1)
    await hanging.begun(2)
    gateway.socket.terminate()
    await hanging.aborted()
  })
})

describe('a gateway is cut, and its searches end,', () => {
  test.each<[string, string | Buffer]>([
    ['for words that are no frame', 'hello'],
    ['for an empty message', ''],
    ['for bytes instead of text', Buffer.from('cancel 0\n')],
    ['for a call that is in hand', askFrame({ call: 0, replica: 'r0' as never, timeoutMs: 9, trace: noTrace, body })],
    ['for a head without an end', `ask 1 ${'r'.repeat(5_000)} 100\n`],
    ['for a replica that is no text', 'ask 1 %ff 100\n'],
    [
      'for more than a body may have',
      askFrame({ call: 1, replica: 'r0' as never, timeoutMs: 9, trace: noTrace, body: ' '.repeat(9_000) }),
    ],
  ])('%s', async (_name, message) => {
    const hanging = new Hanging()
    const limits = { bodyMaxBytes: 2_000 }
    const gateway = await Gateway.connect(await serve({ replicas: () => [hanging.replica()], limits }))
    gateway.ask(0)
    await hanging.begun(1)
    gateway.socket.send(message)
    await gateway.closed()
    await hanging.aborted()
    expect(gateway.answers).toEqual([])
  })

  test('when it does not read its answers', async () => {
    const found = await shard.node.search(request)
    const hit = { itemId: 'lamp', similarity: 1, object: { box: [0, 0, 1, 1], label: '', image: 0 }, item: {} }
    const large = { ...found, hits: Array(2_000).fill(hit) } as unknown as typeof found
    const verbose = new Proxy<ServedReplica>(shard.node, {
      get: (node, name) => (name === 'search' ? async () => large : Reflect.get(node, name, node)),
    })
    const address = await serve({ replicas: () => [verbose], limits: { unreadMaxBytes: 2 ** 20 } })
    const gateway = await Gateway.connect(address)
    const stream = (gateway.socket as unknown as { readonly _socket: Socket })._socket
    stream.pause()
    const count = () => new Promise<number>(resolve => app!.server.getConnections((_error, n) => resolve(n)))
    expect(await count()).toBe(1)
    // Of a hundred kilobytes each: more than the buffers of the system take.
    for (let call = 0; call < 500; call++) gateway.ask(call)
    await expect.poll(count, { timeout: 30_000, interval: 20 }).toBe(0)
    const other = await Gateway.connect(address)
    other.ask(0)
    expect((await other.answered(1))[0]?.status).toBe(200)
  })
})

describe('a server that closes', () => {
  test('answers what is in hand, refuses what comes, and closes the connection after the last answer', async () => {
    const hanging = new Hanging()
    const gateway = await Gateway.connect(await serve({ replicas: () => [hanging.replica()] }))
    gateway.ask(0)
    gateway.ask(1)
    await hanging.begun(2)
    const closing = app!.close()
    await expect.poll(() => app!.server.listening).toBe(false)
    gateway.ask(2)
    const [refused] = await gateway.answered(1)
    expect([refused!.call, codeOf(refused!)]).toEqual([2, 'replica-unavailable'])
    for (const gate of hanging.gates) gate.resolve()
    await closing
    expect(await gateway.closed()).toBe(1001)
    const [first, ...others] = gateway.answers.map(({ call, status }) => [call, status])
    expect(first).toEqual([2, 503])
    // In any order.
    expect(others.sort()).toEqual([
      [0, 200],
      [1, 200],
    ])
  })

  test('does not wait for idle gateways', async () => {
    const gateway = await Gateway.connect(await serve())
    await app!.close()
    expect(await gateway.closed()).toBe(1001)
  })

  test('ends searches that take too long', async () => {
    const hanging = new Hanging()
    const gateway = await Gateway.connect(await serve({ replicas: () => [hanging.replica()], limits: { drainMs: 50 } }))
    gateway.ask(0)
    await hanging.begun(1)
    await app!.close()
    await hanging.aborted()
    expect(await gateway.closed()).toBe(1006)
  })
})
