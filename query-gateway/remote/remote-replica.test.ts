import { once } from 'node:events'
import { createServer, type IncomingMessage, type Server, type ServerResponse } from 'node:http'
import {
  type AddressInfo,
  createServer as createSocketServer,
  type Socket,
  type Server as SocketServer,
} from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import { asPartition, asShardId, type Generation, type ItemId, type ReplicaId } from '../../schemas/ids.ts'
import type { ShardSearchRequest, ShardSearchResult } from '../../schemas/shard-api.ts'
import { replicaTag, searchResultsWire, wireHeaders } from '../../schemas/shard-wire.ts'
import { fingerprint, hit, unitVector } from '../testing/gateway-fixture.ts'
import { RemoteReplica } from './remote-replica.ts'
import type { RemoteReplicaSettings } from './shard-connection.ts'

const identity = {
  shard: asShardId(0),
  replica: 'g1-0-a' as ReplicaId,
  generation: 'g1' as Generation,
  partitions: [asPartition(0)],
  reported: { state: 'ready', indexAgeMs: 0 },
} as const
const request: ShardSearchRequest = { generation: identity.generation, fingerprint, vector: unitVector, k: 3 }
const result: ShardSearchResult = { hits: [hit('lamp', 0.5)], watermarks: {}, indexAgeMs: 0, plan: 'graph' }
/** Patient: the machine may be busy. */
const eventually = <T>(read: () => T) => expect.poll(read, { timeout: 20_000, interval: 10 })
const goodText = searchResultsWire.encode([result])
/** With all fields of items read. */
const asJson = (answer: object): unknown => JSON.parse(JSON.stringify(answer))

let server: Server | SocketServer | null = null
let replica: RemoteReplica | null = null

afterEach(async () => {
  if (server && 'closeAllConnections' in server) server.closeAllConnections()
  server?.close()
  await replica?.close()
  server = replica = null
})

/** A server that answers as the test says, and the replica that is said to be there. */
async function reach(
  answer: (request: IncomingMessage, response: ServerResponse) => void,
  settings: Partial<RemoteReplicaSettings> = {},
): Promise<RemoteReplica> {
  const created = createServer(answer)
  server = created
  return replicaAt(created, settings)
}

async function replicaAt(of: SocketServer, settings: Partial<RemoteReplicaSettings> = {}): Promise<RemoteReplica> {
  await new Promise<void>(resolve => of.listen(0, '127.0.0.1', resolve))
  const address = `http://127.0.0.1:${(of.address() as AddressInfo).port}`
  replica = new RemoteReplica({ ...identity, address }, settings)
  return replica
}

const headersFor = ({ headers }: IncomingMessage, more: Record<string, string> = {}): Record<string, string> => ({
  [wireHeaders.replica]: replicaTag(identity),
  [wireHeaders.call]: String(headers[wireHeaders.call]),
  ...more,
})
const errorText = (code: 'not-ready' | 'not-found' | 'access-denied', details?: object): string =>
  JSON.stringify(new FreshetError(code, 'as it says', { details }).toBody())

describe('an answer that cannot be believed is that of an unavailable replica', () => {
  const hasty = { searchTimeoutMs: 20, graceMs: 20 }

  test.each<[string, string, (request: IncomingMessage, response: ServerResponse) => void]>([
    ['garbage', 'malformed', (asked, out) => out.writeHead(200, headersFor(asked)).end('%%%')],
    [
      '200 with an error',
      'malformed',
      (asked, out) => out.writeHead(200, headersFor(asked)).end(errorText('not-ready')),
    ],
    ['nothing', 'malformed', (asked, out) => out.writeHead(200, headersFor(asked)).end()],
    [
      'a part, and then the end of the connection',
      'unreachable',
      (asked, out) => {
        out.writeHead(200, headersFor(asked, { 'content-length': '2000' })).write(goodText.slice(0, 100))
        setImmediate(() => out.destroy())
      },
    ],
    ['the end of the connection', 'unreachable', asked => asked.socket.destroy()],
    ['silence', 'late', () => undefined],
    [
      'a drop at a time',
      'late',
      (asked, out) => {
        out.writeHead(200, headersFor(asked))
        const drip = setInterval(() => out.write(' '), 5)
        out.once('close', () => clearInterval(drip))
      },
    ],
    ['too much', 'too-large', (asked, out) => out.writeHead(200, headersFor(asked)).end(' '.repeat(10_001))],
    [
      'another generation',
      'foreign',
      (asked, out) => {
        const tag = replicaTag({ ...identity, generation: 'g2' as Generation })
        out.writeHead(200, headersFor(asked, { [wireHeaders.replica]: tag })).end(goodText)
      },
    ],
    [
      'another replica',
      'foreign',
      (asked, out) => {
        const tag = replicaTag({ ...identity, replica: 'g1-0-b' as ReplicaId })
        out.writeHead(200, headersFor(asked, { [wireHeaders.replica]: tag })).end(goodText)
      },
    ],
    ['no name', 'stray', (_asked, out) => out.writeHead(200).end(goodText)],
    [
      'the answer to another call',
      'stray',
      (asked, out) => out.writeHead(200, headersFor(asked, { [wireHeaders.call]: '99' })).end(goodText),
    ],
    ['a page of some proxy', 'stray', (_asked, out) => out.writeHead(502).end('<html>bad gateway</html>')],
    ['404', 'foreign', (asked, out) => out.writeHead(404, headersFor(asked)).end(errorText('not-found'))],
    ['an error in no words of ours', 'malformed', (asked, out) => out.writeHead(500, headersFor(asked)).end('oh')],
  ])('%s', async (_name, why, answer) => {
    const lying = await reach(answer, { maxAnswerBytes: 10_000, ...(why === 'late' ? hasty : {}) })
    await expect(lying.searchBatch([request])).rejects.toMatchObject({
      code: 'replica-unavailable',
      retryable: true,
      details: { why },
    })
  })

  test('what is not HTTP', async () => {
    const sockets = createSocketServer(socket => socket.once('data', () => socket.end('hello\r\n\r\n')))
    server = sockets
    const lying = await replicaAt(sockets)
    await expect(lying.searchBatch([request])).rejects.toMatchObject({ details: { why: 'unreachable' } })
  })

  test('nobody there', async () => {
    const gone = await reach(() => undefined)
    await new Promise(resolve => server?.close(resolve))
    await expect(gone.searchBatch([request])).rejects.toMatchObject({
      code: 'replica-unavailable',
      details: { why: 'unreachable' },
    })
  })

  test('fewer answers than searches', async () => {
    const short = await reach((asked, out) =>
      out.writeHead(200, headersFor(asked)).end(searchResultsWire.encode([result])),
    )
    await expect(short.searchBatch([request, request])).rejects.toMatchObject({ details: { why: 'malformed' } })
    expect(await short.searchBatch([request])).toEqual([result])
  })

  test('an answer that comes twice is never taken for that to the next call', async () => {
    let asked = 0
    const old = searchResultsWire.encode([{ ...result, hits: [hit('of the first call', 1)] }])
    const sockets = createSocketServer(socket => {
      socket.on('data', data => {
        const number = /freshet-call: (\d+)/i.exec(String(data))?.[1]
        asked++
        const one = httpText(asked === 1 ? old : goodText, number ?? '')
        socket.write(asked === 1 ? one + one : one)
      })
      socket.on('error', () => undefined)
    })
    server = sockets
    const twice = await replicaAt(sockets, { connections: 1 })
    const answers = await Promise.allSettled([1, 2, 3, 4].map(() => twice.searchBatch([request])))
    const ids = answers.map(answer =>
      answer.status === 'fulfilled' ? answer.value[0]!.hits[0]!.itemId : answer.reason.code,
    )
    expect(ids[0]).toBe('of the first call')
    expect(ids.slice(1)).not.toContain('of the first call')
    expect((await twice.searchBatch([request]))[0]?.hits[0]?.itemId).toBe('lamp')
  })

  function httpText(body: string, call: string): string {
    const head = `HTTP/1.1 200 OK\r\ncontent-length: ${Buffer.byteLength(body)}\r\n`
    return `${head}${wireHeaders.replica}: ${replicaTag(identity)}\r\n${wireHeaders.call}: ${call}\r\n\r\n${body}`
  }
})

test.each([
  [503, 'not-ready', { state: 'catching-up' }],
  [401, 'access-denied', undefined],
] as const)('an error of the replica, %i %s, arrives as such', async (status, code, details) => {
  const refusing = await reach((asked, out) => out.writeHead(status, headersFor(asked)).end(errorText(code, details)))
  const thrown = await refusing.searchBatch([request]).catch(error => error)
  expect(thrown).toMatchObject({ code, message: 'as it says' })
  expect(thrown.details).toEqual(details)
})

test('the secret and the time the replica has are told', async () => {
  const seen: IncomingMessage[] = []
  const good = await reach(
    (asked, out) => {
      seen.push(asked)
      out.writeHead(200, headersFor(asked)).end(goodText)
    },
    { secret: 'hush', searchTimeoutMs: 1_234 },
  )
  expect(asJson(await good.searchBatch([request]))).toEqual([result])
  expect(seen[0]?.headers).toMatchObject({ authorization: 'Bearer hush', [wireHeaders.timeoutMs]: '1234' })
})

test('the end of a search closes its request, and the next search works', async () => {
  const hanging = Promise.withResolvers<ServerResponse>()
  let isFirst = true
  const slow = await reach((asked, out) => {
    if (isFirst) hanging.resolve(out)
    else out.writeHead(200, headersFor(asked)).end(goodText)
    isFirst = false
  })
  const given = new AbortController()
  const searching = slow.searchBatch([request], given.signal)
  const closed = once(await hanging.promise, 'close')
  given.abort(new Error('enough'))
  await expect(searching).rejects.toMatchObject({ code: 'timeout' })
  await closed
  expect(asJson(await slow.searchBatch([request]))).toEqual([result])
})

test('connections are kept, and no more than allowed', async () => {
  const sockets = new Set<Socket>()
  const good = await reach(
    (asked, out) => {
      sockets.add(asked.socket)
      out.writeHead(200, headersFor(asked)).end(goodText)
    },
    { connections: 3 },
  )
  for (let i = 0; i < 5; i++) await good.searchBatch([request])
  // An answer is told a moment before its connection is free.
  expect(sockets.size).toBeLessThanOrEqual(2)
  await Promise.all(Array.from({ length: 40 }, () => good.searchBatch([request])))
  expect(sockets.size).toBe(3)
})

test('closing lets calls in hand finish, ends waits, and takes no more calls', async () => {
  const held: (() => void)[] = []
  const good = await reach((asked, out) => {
    const isWait = asked.url?.includes('/changed') ?? false
    if (isWait) out.writeHead(200, headersFor(asked)).write(' ')
    else held.push(() => out.writeHead(200, headersFor(asked)).end(goodText))
  })
  const waiting = good.changed('lamp' as ItemId, new AbortController().signal)
  const waited = expect(waiting).rejects.toMatchObject({ code: 'replica-unavailable' })
  const searching = good.searchBatch([request])
  await eventually(() => held.length).toBe(1)
  const closing = good.close()
  await waited
  held[0]?.()
  expect(asJson(await searching)).toEqual([result])
  await closing
  await expect(good.searchBatch([request])).rejects.toMatchObject({ code: 'replica-unavailable' })
})
