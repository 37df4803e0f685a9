import { setTimeout as delay } from 'node:timers/promises'
import { afterEach, expect, test } from 'vitest'
import { RedisServer, type RedisServerOptions } from '../servers/redis-server.ts'
import { type RedisAddress, RedisConnection } from './redis-connection.ts'

const open: { readonly close: () => unknown }[] = []

afterEach(async () => {
  for (const { close } of open.splice(0).reverse()) await close()
})

async function startRedis(options: RedisServerOptions = {}): Promise<RedisServer> {
  const server = await RedisServer.start(options)
  open.push({ close: () => server.stop() })
  return server
}

function connect(address: RedisAddress, answerWithinMs = 10_000): RedisConnection {
  const connection = new RedisConnection(address, { unavailable: 'queue-unavailable', answerWithinMs })
  open.push({ close: () => connection.close() })
  return connection
}

const ping = (connection: RedisConnection) => connection.run(redis => redis.ping())
const outcome = (connection: RedisConnection) =>
  ping(connection).catch((thrown: { readonly code: string }) => thrown.code)
const host = '127.0.0.1'

test('passwords, in the address or beside it; a wrong one is access denied', async () => {
  const password = 'p@ss/word:1 %'
  const { url, port } = await startRedis({ password })
  expect(await ping(connect({ url }))).toBe('PONG')
  expect(await ping(connect({ host, port, password }))).toBe('PONG')
  expect(await ping(connect({ url: `redis://:wrong@${host}:${port}`, password }))).toBe('PONG')
  for (const wrong of [connect({ host, port, password: 'wrong' }), connect({ host, port })])
    await expect(ping(wrong)).rejects.toMatchObject({ code: 'access-denied', retryable: false })
})

test('a user without the right to a command is denied it', async () => {
  const { url, port } = await startRedis()
  await connect({ url }).run(redis => redis.call('ACL', 'SETUSER', 'reader', 'on', '>secret', '~*', '+@read', '+info'))
  const reader = connect({ host, port, username: 'reader', password: 'secret' })
  expect(await reader.run(redis => redis.get('a'))).toBeNull()
  await expect(reader.run(redis => redis.set('a', 1))).rejects.toMatchObject({ code: 'access-denied' })
})

test('an encrypted connection is made when the authority is trusted, and only then', async () => {
  const server = await startRedis({ tls: true, password: 'secret' })
  const tls = { ca: server.certificateAuthority! }
  expect(await ping(connect({ url: server.url, tls }))).toBe('PONG')
  expect(await ping(connect({ host: 'localhost', port: server.port, password: 'secret', tls }))).toBe('PONG')
  await expect(ping(connect({ url: server.url }))).rejects.toMatchObject({ code: 'access-denied' })
  for (const wrong of [{ ca: 'not PEM' }, { ...tls, cert: 'not PEM', key: 'not PEM' }])
    await expect(ping(connect({ url: server.url, tls: wrong }))).rejects.toMatchObject({ code: 'access-denied' })
  const plain = connect({ host, port: server.port, password: 'secret' })
  await expect(ping(plain)).rejects.toMatchObject({ code: 'queue-unavailable' })
})

test('a connection that is closed while it refuses a certificate ends nothing else', async () => {
  const { url } = await startRedis({ tls: true, password: 'secret' })
  const uncaught: unknown[] = []
  const note = (error: unknown): void => void uncaught.push(error)
  process.on('uncaughtException', note)
  open.push({ close: () => process.off('uncaughtException', note) })
  for (let round = 0; round < 100; round++) {
    const connection = connect({ url })
    const asked = outcome(connection)
    await delay(round % 10)
    connection.close()
    await asked
  }
  expect(uncaught).toEqual([])
})

test('a database number keeps installations apart', async () => {
  const { url, port } = await startRedis()
  const [first, second] = [connect({ url: `${url}/1` }), connect({ host, port, database: 2 })]
  await first.run(redis => redis.set('a', 1))
  expect(await second.run(redis => redis.get('a'))).toBeNull()
  expect(await first.run(redis => redis.get('a'))).toBe('1')
})

test.each([['http://secret@127.0.0.1'], ['secret@127.0.0.1:6379'], ['redis://:secret@'], ['redis://:secret@host/db']])(
  'the address %s is refused without showing its password',
  url => {
    expect(() => connect({ url })).toThrow(expect.objectContaining({ code: 'config-invalid' }))
    expect(() => connect({ url })).not.toThrow('secret')
  },
)

test('nobody listening: calls fail at once, and work when somebody does', async () => {
  const server = await startRedis()
  await server.kill()
  const connection = connect({ url: server.url })
  await expect(ping(connection)).rejects.toMatchObject({
    code: 'queue-unavailable',
    retryable: true,
    details: { reason: 'unreachable' },
  })
  await server.startAgain()
  await expect.poll(() => outcome(connection), { timeout: 10_000 }).toBe('PONG')
})

test('what is in flight when Redis dies fails, and the connection comes back by itself', async () => {
  const server = await startRedis()
  const connection = connect({ url: server.url })
  await ping(connection)
  const blocked = connection.run(redis => redis.blpop('nothing', 0))
  const failed = expect(blocked).rejects.toMatchObject({ code: 'queue-unavailable' })
  await server.kill()
  await failed
  await server.startAgain()
  await expect.poll(() => outcome(connection), { timeout: 10_000 }).toBe('PONG')
})

test('a Redis that stops answering does not hold a call for ever', async () => {
  const server = await startRedis()
  const connection = connect({ url: server.url }, 200)
  await ping(connection)
  process.kill(server.pid!, 'SIGSTOP')
  try {
    await expect(ping(connection)).rejects.toMatchObject({ code: 'queue-unavailable' })
    expect(await outcome(connection)).toBe('queue-unavailable')
  } finally {
    process.kill(server.pid!, 'SIGCONT')
  }
  await expect.poll(() => outcome(connection), { timeout: 10_000 }).toBe('PONG')
})

test('out of memory is told, and passes', async () => {
  const { url } = await startRedis({ maxMemoryBytes: 4 * 2 ** 20 })
  const connection = connect({ url })
  const fill = async () => {
    for (let i = 0; ; i++) await connection.run(redis => redis.set(`filler-${i}`, Buffer.alloc(2 ** 18)))
  }
  await expect(fill()).rejects.toMatchObject({
    code: 'queue-unavailable',
    retryable: true,
    details: { reason: 'out-of-memory' },
  })
  await connection.run(redis => redis.del('filler-0', 'filler-1'))
  await connection.run(redis => redis.set('a', 1))
})

test('a read-only replica is told, at every call, and reads go on', async () => {
  const primary = await startRedis()
  const replica = await startRedis({ replicaOfPort: primary.port })
  const connection = connect({ url: replica.url })
  const write = () =>
    connection.run(redis => redis.set('a', 1)).catch((thrown: { readonly details: unknown }) => thrown.details)
  for (let i = 0; i < 5; i++) expect(await write()).toEqual({ reason: 'read-only' })
  await expect.poll(() => outcome(connection)).toBe('PONG')
})

test('a closed connection ends what waits and takes nothing more', async () => {
  const { url } = await startRedis()
  const connection = connect({ url })
  await ping(connection)
  const blocked = connection.run(redis => redis.blpop('nothing', 0))
  const early = connect({ url })
  const connecting = ping(early)
  connection.close()
  early.close()
  for (const call of [blocked, connecting, ping(connection), ping(early)])
    await expect(call).rejects.toMatchObject({ code: 'queue-unavailable', details: { reason: 'closed' } })
})
