import { createServer, type RequestListener } from 'node:http'
import { createServer as createSocketServer, type Socket, type Server as SocketServer } from 'node:net'
import { afterEach, describe, expect, test } from 'vitest'
import { FreshetError } from '../../schemas/errors.ts'
import { asPartition, asShardId, type Generation, type ReplicaId } from '../../schemas/ids.ts'
import type { ShardSearchRequest, ShardSearchResult } from '../../schemas/shard-api.ts'
import { searchesPath } from '../../schemas/shard-frames.ts'
import { replicaTag, searchRequestWire } from '../../schemas/shard-wire.ts'
import { searchResultWire } from '../../schemas/shard-wire-hits.ts'
import { fingerprint, hit, unitVector } from '../testing/gateway-fixture.ts'
import { type AskedSearch, SearchedProcess } from '../testing/searched-process.ts'
import { RemoteReplica } from './remote-replica.ts'
import { ShardChannels } from './shard-channels.ts'
import type { RemoteReplicaSettings } from './shard-connection.ts'

const identity = {
  shard: asShardId(0),
  replica: 'g1-0-a' as ReplicaId,
  generation: 'g1' as Generation,
  partitions: [asPartition(0)],
  reported: { state: 'ready', indexAgeMs: 0 },
} as const
const tag = replicaTag(identity)
const request: ShardSearchRequest = { generation: identity.generation, fingerprint, vector: unitVector, k: 3 }
const resultOf = (itemId: string): ShardSearchResult => ({
  hits: [hit(itemId, 0.5)],
  watermarks: {},
  indexAgeMs: 0,
  plan: 'graph',
})
const goodText = searchResultWire.encode(resultOf('lamp'))
const well = (asked: AskedSearch): void => asked.answer(tag, goodText)
/** Patient: the machine may be busy. */
const eventually = <T>(read: () => T) => expect.poll(read, { timeout: 20_000, interval: 10 })

const closers: (() => unknown)[] = []
afterEach(async () => {
  for (const close of closers.splice(0).reverse()) await close()
})

async function processThat(answer: (asked: AskedSearch) => void, port = 0): Promise<SearchedProcess> {
  const listening = await SearchedProcess.listen(answer, createServer(), port)
  closers.push(() => listening.stop())
  return listening
}

function replicaAt(address: string, settings: Partial<RemoteReplicaSettings> = {}): RemoteReplica {
  const replica = new RemoteReplica({ ...identity, address }, settings)
  closers.push(() => replica.close())
  return replica
}

async function listening(server: SocketServer): Promise<string> {
  await new Promise<void>(resolve => server.listen(0, '127.0.0.1', resolve))
  const address = server.address() as { readonly port: number }
  return `http://127.0.0.1:${address.port}`
}

const bestOf = (result: ShardSearchResult): string | undefined => result.hits[0]?.itemId
const errorText = (code: 'not-ready' | 'not-found' | 'access-denied', details?: object): string =>
  JSON.stringify(new FreshetError(code, 'as it says', { details }).toBody())
const whyOf = (thrown: unknown) => ((thrown as FreshetError).details as { readonly why: string } | undefined)?.why

describe('an answer that cannot be believed is that of an unavailable replica', () => {
  const otherTag = replicaTag({ ...identity, generation: 'g2' as Generation })
  test.each<[string, string, (asked: AskedSearch) => void]>([
    ['garbage', 'malformed', asked => asked.answer(tag, '%%%')],
    ['good with an error', 'malformed', asked => asked.answer(tag, errorText('not-ready'))],
    ['nothing', 'malformed', asked => asked.answer(tag, '')],
    ['an error in no words of ours', 'malformed', asked => asked.answer(tag, 'oh', 500)],
    ['a route that is not there', 'foreign', asked => asked.answer(tag, errorText('not-found'), 404)],
    ['another generation', 'foreign', asked => asked.answer(otherTag, goodText)],
    ['another replica', 'foreign', asked => asked.answer(`${tag}b`, goodText)],
    ['nobody', 'foreign', asked => asked.answer('-', goodText)],
    ['a call that was not made', 'stray', asked => asked.send(`99 200 ${tag}\n${goodText}`)],
    ['no frame', 'unreachable', asked => asked.send('hello')],
    ['bytes', 'unreachable', asked => asked.send(Buffer.from(`0 200 ${tag}\n${goodText}`))],
    ['the end of the connection', 'unreachable', asked => asked.stream.destroy()],
    ['a word of farewell', 'unreachable', asked => asked.socket.close(1001)],
    [
      'a part, and then the end of the connection',
      'unreachable',
      ({ socket, stream }) => {
        socket.send(goodText.slice(0, 20), { fin: false })
        setImmediate(() => stream.destroy())
      },
    ],
    ['a little too much', 'too-large', asked => asked.answer(tag, ' '.repeat(10_001))],
    ['far too much', 'too-large', asked => asked.answer(tag, ' '.repeat(100_000))],
    ['silence', 'late', () => undefined],
    [
      'a drop at a time',
      'late',
      ({ socket }) => {
        socket.send(`0 200 ${tag}\n`, { fin: false })
        const drip = setInterval(() => socket.send(' ', { fin: false }), 5)
        socket.once('close', () => clearInterval(drip))
      },
    ],
  ])('%s', async (_name, why, answer) => {
    let isFirst = true
    const lying = await processThat(asked => {
      if (isFirst) answer(asked)
      else well(asked)
      isFirst = false
    })
    const hasty = { searchTimeoutMs: 200, graceMs: 20 }
    const replica = replicaAt(lying.address, { maxAnswerBytes: 10_000, ...(why === 'late' ? hasty : {}) })
    const thrown = await replica.search(request).catch(error => error)
    expect(thrown).toMatchObject({ code: 'replica-unavailable', retryable: true, details: { why } })
    if (why !== 'late') expect(bestOf(await replica.search(request))).toBe('lamp')
  })

  test.each<[string, string, RequestListener]>([
    ['a page of some proxy', 'stray', (_asked, out) => out.writeHead(502).end('<html>bad gateway</html>')],
    ['a page without an end', 'stray', (_asked, out) => out.writeHead(200).write('x'.repeat(100_000))],
    ['a server without searches', 'foreign', (_asked, out) => out.writeHead(404).end(errorText('not-found'))],
    ['the end of the connection', 'unreachable', asked => asked.socket.destroy()],
  ])('%s instead of an upgrade', async (_name, why, answer) => {
    const server = createServer(answer)
    closers.push(() => server.closeAllConnections() ?? server.close())
    const replica = replicaAt(await listening(server))
    const thrown = await Promise.all([1, 2].map(() => replica.search(request).catch(error => error)))
    expect(thrown.map(whyOf)).toEqual([why, why])
  })

  test('what is not HTTP', async () => {
    const server = createSocketServer(socket => socket.once('data', () => socket.end('hello\r\n\r\n')))
    closers.push(() => server.close())
    const thrown = await replicaAt(await listening(server))
      .search(request)
      .catch(error => error)
    expect(whyOf(thrown)).toBe('unreachable')
  })

  test('nobody there', async () => {
    const gone = await processThat(well)
    const { address } = gone
    await gone.stop()
    const thrown = await replicaAt(address)
      .search(request)
      .catch(error => error)
    expect(whyOf(thrown)).toBe('unreachable')
  })
})

test.each([
  [503, 'not-ready', { state: 'catching-up' }],
  [401, 'access-denied', undefined],
] as const)('an error of the replica, %i %s, arrives as such', async (status, code, details) => {
  const refusing = await processThat(asked => asked.answer(tag, errorText(code, details), status))
  const thrown = await replicaAt(refusing.address)
    .search(request)
    .catch(error => error)
  expect(thrown).toMatchObject({ code, message: 'as it says' })
  expect(thrown.details).toEqual(details)
})

test('a shard that takes another secret says so to every search', async () => {
  const server = createServer((_asked, out) => out.writeHead(401).end(errorText('access-denied')))
  closers.push(() => server.closeAllConnections() ?? server.close())
  const replica = replicaAt(await listening(server))
  for (let i = 0; i < 2; i++)
    await expect(replica.search(request)).rejects.toMatchObject({ code: 'access-denied', message: 'as it says' })
})

test('the replica, the time it has and the search are told, the secret once', async () => {
  const good = await processThat(well)
  const replica = replicaAt(good.address, { secret: 'hush', searchTimeoutMs: 1_234 })
  expect(JSON.parse(JSON.stringify(await replica.search(request)))).toEqual(resultOf('lamp'))
  await replica.search(request)
  expect(good.connections).toHaveLength(1)
  const { upgrade, ...asked } = good.asked[0]!
  expect(upgrade.headers.authorization).toBe('Bearer hush')
  expect(upgrade.url).toBe(searchesPath)
  expect(upgrade.headers['sec-websocket-extensions']).toBeUndefined()
  expect(asked).toMatchObject({ replica: identity.replica, timeoutMs: 1_234, trace: {} })
  expect(searchRequestWire.decode(asked.body)).toEqual(request)
})

describe('many searches on one connection', () => {
  /** Each answered with its own k as the item found. */
  const telling = (asked: AskedSearch): void => {
    const { k } = searchRequestWire.decode(asked.body)
    asked.answer(
      replicaTag({ ...identity, replica: asked.replica }),
      searchResultWire.encode(resultOf(`${asked.replica} ${k}`)),
    )
  }

  test('of several replicas are answered in any order, each with its own', async () => {
    const held: AskedSearch[] = []
    const shuffling = await processThat(asked => {
      held.push(asked)
      if (held.length < 60) return
      for (const each of held.splice(0).sort(({ call: a }, { call: b }) => ((a * 37) % 60) - ((b * 37) % 60)))
        telling(each)
    })
    const channels = new ShardChannels()
    const names = ['a', 'b', 'c'] as ReplicaId[]
    const replicas = names.map(
      name => new RemoteReplica({ ...identity, replica: name, address: shuffling.address }, {}, channels),
    )
    const asking = replicas.flatMap(replica =>
      Array.from({ length: 20 }, async (_, k) => [
        `${replica.replica} ${k + 1}`,
        bestOf(await replica.search({ ...request, k: k + 1 })),
      ]),
    )
    for (const [expected, found] of await Promise.all(asking)) expect(found).toBe(expected)
    expect(shuffling.connections).toHaveLength(1)
    await Promise.all(replicas.map(replica => replica.close()))
  })

  test('no more than allowed are in hand, and one that fails harms no other', async () => {
    let most = 0
    const held = new Set<AskedSearch>()
    const slow = await processThat(asked => {
      held.add(asked)
      most = Math.max(most, held.size)
      setTimeout(() => {
        held.delete(asked)
        if (asked.call % 5 === 0) asked.answer('somebody', goodText)
        else asked.answer(tag, goodText)
      }, 2)
    })
    const replica = replicaAt(slow.address, { searchesInHand: 3 })
    const outcomes = await Promise.allSettled(Array.from({ length: 40 }, () => replica.search(request)))
    expect(most).toBe(3)
    expect(outcomes.filter(({ status }) => status === 'rejected')).toHaveLength(8)
    expect(slow.connections).toHaveLength(1)
  })

  test('those that wait for their turn are late, or given up, where they wait', async () => {
    const hanging = await processThat(() => undefined)
    const replica = replicaAt(hanging.address, { searchesInHand: 1, searchTimeoutMs: 1_500, graceMs: 0 })
    const given = new AbortController()
    const asking = [undefined, undefined, given.signal].map(signal => replica.search(request, signal).catch(e => e))
    await eventually(() => hanging.asked.length).toBe(1)
    given.abort(new Error('enough'))
    expect((await asking[2]) as FreshetError).toMatchObject({ code: 'timeout' })
    expect([whyOf(await asking[0]), whyOf(await asking[1])]).toEqual(['late', 'late'])
    await eventually(() => hanging.cancelled).toContain(0)
  })
})

test('an answer that comes twice is never taken for that to another search', async () => {
  const twice = await processThat(asked => {
    const text = searchResultWire.encode(resultOf(`call ${asked.call}`))
    asked.answer(tag, text)
    asked.answer(tag, text)
  })
  const replica = replicaAt(twice.address)
  const found = await Promise.all([0, 1, 2, 3].map(async () => bestOf(await replica.search(request))))
  expect(new Set(found)).toEqual(new Set(['call 0', 'call 1', 'call 2', 'call 3']))
  expect(bestOf(await replica.search(request))).toBe('call 4')
  expect(twice.connections).toHaveLength(1)
})

test('the end of a search is told to the shard, its late answer passed over, and the next search works', async () => {
  const slow = await processThat(asked => {
    if (asked.call > 0) well(asked)
  })
  const replica = replicaAt(slow.address)
  const given = new AbortController()
  const searching = replica.search(request, given.signal)
  await eventually(() => slow.asked.length).toBe(1)
  given.abort(new Error('enough'))
  await expect(searching).rejects.toMatchObject({ code: 'timeout' })
  await eventually(() => slow.cancelled).toEqual([0])
  slow.asked[0]!.answer(tag, searchResultWire.encode(resultOf('too late')))
  expect(bestOf(await replica.search(request))).toBe('lamp')
  expect(slow.connections).toHaveLength(1)
})

describe('when the connection ends', () => {
  test('what is in hand fails at once, and the next search connects anew', async () => {
    const first = await processThat(() => undefined)
    const replica = replicaAt(first.address)
    const searching = Promise.all([1, 2, 3].map(() => replica.search(request).catch(whyOf)))
    await eventually(() => first.asked.length).toBe(3)
    const { port } = first
    await first.stop()
    expect(await searching).toEqual(['unreachable', 'unreachable', 'unreachable'])
    expect(await replica.search(request).catch(whyOf)).toBe('unreachable')
    await processThat(well, port)
    expect(bestOf(await replica.search(request))).toBe('lamp')
  })

  test('searches that come while it is connecting wait for it, or fail with it', async () => {
    const held: Socket[] = []
    const silent = createSocketServer(socket => void held.push(socket.on('error', () => undefined)))
    closers.push(() => silent.close())
    const replica = replicaAt(await listening(silent))
    const searching = [1, 2].map(() => replica.search(request).catch(whyOf))
    await eventually(() => held.length).toBe(1)
    const third = replica.search(request).catch(whyOf)
    held[0]!.destroy()
    expect(await Promise.all([...searching, third])).toEqual(['unreachable', 'unreachable', 'unreachable'])
    expect(held).toHaveLength(1)
  })
})

describe('a process that is gone without a word', () => {
  test('loses its connection by its silence, whatever searches end before', async () => {
    const half = await processThat(asked => {
      if (half.connections.length > 1) well(asked)
      else asked.stream.pause()
    })
    const replica = replicaAt(half.address, { silentMs: 500 })
    const given = new AbortController()
    const cancelled = replica.search(request, given.signal).catch(error => error.code)
    await eventually(() => half.asked.length).toBe(1)
    const searching = replica.search(request).catch(error => error)
    given.abort(new Error('enough'))
    expect(await cancelled).toBe('timeout')
    expect(await searching).toMatchObject({
      message: expect.stringContaining('silent'),
      details: { why: 'unreachable' },
    })
    expect(bestOf(await replica.search(request))).toBe('lamp')
    expect(half.connections).toHaveLength(2)
  })

  test('so does one that never answers the upgrade', async () => {
    const held: Socket[] = []
    const silent = createSocketServer(socket => void held.push(socket.on('error', () => undefined)))
    closers.push(
      () => held.map(socket => socket.destroy()),
      () => silent.close(),
    )
    const replica = replicaAt(await listening(silent), { silentMs: 100 })
    expect(await replica.search(request).catch(whyOf)).toBe('unreachable')
  })

  test('one that is slow, but lives, keeps it', async () => {
    const slow = await processThat(asked => setTimeout(() => well(asked), 1_200))
    const replica = replicaAt(slow.address, { silentMs: 300 })
    expect(bestOf(await replica.search(request))).toBe('lamp')
    expect(slow.connections).toHaveLength(1)
  })
})

test('a process that does not read what it is asked is given up, before much of it is held for it', async () => {
  const deaf = await processThat(asked => asked.stream.pause())
  const replica = replicaAt(deaf.address, { unreadMaxBytes: 2 ** 20 })
  const first = replica.search(request).catch(error => error)
  await eventually(() => deaf.asked.length).toBe(1)
  const large = { ...request, vector: new Float32Array(200_000) }
  for (let i = 0; i < 30; i++) {
    const given = new AbortController()
    const searching = replica.search(large, given.signal).catch(error => error)
    given.abort(new Error('enough'))
    await searching
  }
  expect(await first).toMatchObject({
    message: expect.stringContaining('does not read'),
    details: { why: 'unreachable' },
  })
})

describe('closing', () => {
  test('lets searches in hand finish, and takes no more', async () => {
    const held = await processThat(() => undefined)
    const replica = replicaAt(held.address)
    const searching = replica.search(request)
    await eventually(() => held.asked.length).toBe(1)
    const closing = replica.close()
    await expect(replica.search(request)).rejects.toMatchObject({ details: { why: 'unreachable' } })
    well(held.asked[0]!)
    expect(bestOf(await searching)).toBe('lamp')
    await closing
    await eventually(() => held.connections[0]!.destroyed).toBe(true)
  })

  test('the connection stays while another replica of the process uses it', async () => {
    const good = await processThat(asked => asked.answer(replicaTag({ ...identity, replica: asked.replica }), goodText))
    const channels = new ShardChannels()
    const [one, other] = (['a', 'b'] as ReplicaId[]).map(
      replica => new RemoteReplica({ ...identity, replica, address: good.address }, {}, channels),
    ) as [RemoteReplica, RemoteReplica]
    await Promise.all([one.search(request), other.search(request)])
    await one.close()
    expect(bestOf(await other.search(request))).toBe('lamp')
    expect(good.connections).toHaveLength(1)
    await other.close()
    await eventually(() => good.connections[0]!.destroyed).toBe(true)
  })

  test('a process that does not say farewell is not waited for long', async () => {
    const half = await processThat(well)
    const replica = replicaAt(half.address)
    await replica.search(request)
    half.connections[0]!.pause()
    await replica.close()
  })

  test('and one that is still connecting neither', async () => {
    const silent = createSocketServer(socket => void socket.on('error', () => undefined))
    closers.push(() => silent.close())
    const replica = replicaAt(await listening(silent))
    const given = new AbortController()
    const searching = replica.search(request, given.signal).catch(error => error.code)
    given.abort(new Error('enough'))
    expect(await searching).toBe('timeout')
    await replica.close()
  })
})
