import { mkdtemp, rm, writeFile } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { pino } from 'pino'
import { afterAll, afterEach, beforeAll, expect, inject, test } from 'vitest'
import { KafkaBroker } from '../topologies/servers/kafka-broker.ts'
import { RedisServer } from '../topologies/servers/redis-server.ts'
import { Closers } from './closers.ts'
import { parseConfig } from './config.ts'
import { openDistributedLog, openDistributedWork } from './distributed-storage.ts'
import { runCli } from './testing/captured-cli.ts'

/** TLS and passwords as an operator configures them, with servers that let nobody else in. */
const password = 'hush: e/c r€t'
let scratch: string
let broker: KafkaBroker
let redis: RedisServer
let environment: Record<string, string>
let closers = new Closers()

beforeAll(async () => {
  scratch = await mkdtemp(join(tmpdir(), 'freshet-secure-'))
  const sasl = { mechanism: 'scram-sha-512', username: 'freshet', password } as const
  const started = [
    KafkaBroker.start({ security: { tls: true, sasl } }),
    RedisServer.start({ tls: true, password }),
  ] as const
  ;[broker, redis] = await Promise.all(started)
  await writeFile(join(scratch, 'kafka.pem'), broker.certificateAuthority!)
  await writeFile(join(scratch, 'redis.pem'), redis.certificateAuthority!)
  environment = {
    FRESHET_KAFKA_BROKERS: broker.brokers.join(','),
    FRESHET_KAFKA_TLS: 'true',
    FRESHET_KAFKA_TLS_CA: 'kafka.pem',
    FRESHET_KAFKA_SASL: 'scram-sha-512',
    FRESHET_KAFKA_USERNAME: 'freshet',
    FRESHET_KAFKA_PASSWORD: password,
    FRESHET_REDIS_URL: `rediss://127.0.0.1:${redis.port}`,
    FRESHET_REDIS_PASSWORD: password,
    FRESHET_REDIS_TLS_CA: 'redis.pem',
    FRESHET_REGISTRY_URL: inject('servers').registryUrl,
  }
}, 180_000)

afterEach(async () => {
  await closers.close()
  closers = new Closers()
})

afterAll(async () => {
  await Promise.all([broker?.stop(), redis?.stop()])
  await rm(scratch, { recursive: true, force: true })
})

const cli = (...commandLine: readonly string[]) => runCli(commandLine, { environment, workingDir: scratch })

/** What a role does first, with some of the configuration changed. */
async function open(changed: Readonly<Record<string, string>> = {}) {
  const sources = { machine: { cores: 2 }, workingDir: scratch, environment: { ...environment, ...changed }, flags: {} }
  const { config } = parseConfig(sources)
  const { signal } = new AbortController()
  const options = { clientId: 'secure', log: pino({ level: 'silent' }), signal, closers }
  return { ...(await openDistributedWork(config, options)), ...(await openDistributedLog(config, options)) }
}

test('the deploy commands and a role get in', async () => {
  expect(await cli('schemas', 'register')).toMatchObject({ exitCode: 0 })
  expect(await cli('topics', 'apply')).toMatchObject({ exitCode: 0 })
  const { topicEpoch, queue } = await open()
  expect(topicEpoch).toMatch(/^[0-9a-f]{16}$/)
  expect(await queue.depth()).toMatchObject({ claimed: 0 })
})

test.each([
  { FRESHET_KAFKA_PASSWORD: 'hush: wrong' },
  { FRESHET_KAFKA_TLS_CA: '' },
  { FRESHET_REDIS_PASSWORD: 'hush: wrong' },
  { FRESHET_REDIS_TLS_CA: '' },
])('with %j a role ends at once, and does not repeat the secret', async changed => {
  const refused = await open(changed).then(
    () => null,
    thrown => thrown,
  )
  expect(refused).toMatchObject({ code: 'access-denied' })
  expect(refused.message).not.toContain('hush')
})
