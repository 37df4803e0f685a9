import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { afterAll, beforeAll, expect, inject, test } from 'vitest'
import { openCodecs } from '../schemas/avro/codec.ts'
import { mutationTopic } from '../schemas/topics.ts'
import { emptyRegistry } from '../topologies/confluent/testing/empty-registry.ts'
import { RedisConnection } from '../topologies/redis/redis-connection.ts'
import { freePorts } from '../topologies/servers/free-ports.ts'
import { KafkaBroker } from '../topologies/servers/kafka-broker.ts'
import { RedisServer } from '../topologies/servers/redis-server.ts'
import { parseConfig } from './config.ts'
import { startFirstGeneration } from './first-generation.ts'
import { modelIdentity } from './image-roles.ts'
import { openConfluentRegistry, openKafkaLog } from './log-and-registry.ts'
import { runCli } from './testing/captured-cli.ts'
import { readTopicEpoch } from './topic-epoch.ts'
import { firstGeneration } from './topic-set-up.ts'

const { registryUrl } = inject('servers')
let workingDir: string
let broker: KafkaBroker
let redis: RedisServer

beforeAll(async () => {
  workingDir = await mkdtemp(join(tmpdir(), 'freshet-doctor-'))
  ;[broker, redis] = await Promise.all([KafkaBroker.start(), RedisServer.start()])
  await emptyRegistry(registryUrl)
}, 180_000)

afterAll(async () => {
  await Promise.all([broker?.stop(), redis?.stop()])
  await emptyRegistry(registryUrl)
  await rm(workingDir, { recursive: true, force: true })
})

interface Findings {
  readonly findings: readonly { readonly name: string; readonly outcome: string; readonly found: string }[]
}

const options = () => ({
  FRESHET_KAFKA_BROKERS: broker.brokers.join(','),
  FRESHET_REGISTRY_URL: registryUrl,
  FRESHET_REDIS_URL: `redis://127.0.0.1:${redis.port}`,
  FRESHET_PORT: '0',
})

/** What the doctor finds of the servers, by name. */
async function examine(changed: Readonly<Record<string, string>> = {}) {
  const environment = { ...options(), ...changed }
  const { out } = await runCli(['doctor', '--servers', '--json'], { environment, workingDir })
  const { findings } = JSON.parse(out.join('')) as Findings
  return Object.fromEntries(findings.map(({ name, outcome, found }) => [name, `${outcome} ${found}`]))
}

async function configure(name: string, value: string): Promise<void> {
  const address = { url: `redis://127.0.0.1:${redis.port}` }
  const connection = new RedisConnection(address, { unavailable: 'queue-unavailable' })
  await connection.run(client => client.config('SET', name, value))
  connection.close()
}

test('servers are well once they are set up', async () => {
  expect(await examine()).toMatchObject({
    brokers: expect.stringMatching(/^fail .*freshet.catalog missing/),
    registry: expect.stringMatching(/^fail .* 0 versions/),
  })
  for (const setUp of [
    ['schemas', 'register'],
    ['topics', 'apply'],
  ])
    expect(await runCli(setUp, { environment: options(), workingDir })).toMatchObject({ exitCode: 0 })
  expect(await examine()).toMatchObject({
    brokers: expect.stringMatching(/^ok .* topics fit$/),
    registry: expect.stringMatching(/^ok .* versions of freshet.catalog-value$/),
    redis: expect.stringMatching(/^ok .*noeviction, append-only file on$/),
    generations: 'ok none yet',
  })
})

test('a generation is well while its topic is there and its model here', async () => {
  const { config } = parseConfig({ machine: { cores: 2 }, workingDir, environment: options(), flags: {} })
  const registry = await openConfluentRegistry(config.registry)
  const log = await openKafkaLog(config.kafka, { clientId: 'test' })
  try {
    const codecs = await openCodecs(registry)
    const topicEpoch = await readTopicEpoch(log, codecs.catalog)
    const ports = { log, codecs, partitions: config.partitions, topicEpoch }
    const first = { config, ports, by: 'test', clock: Date.now }
    await startFirstGeneration({ ...first, model: await modelIdentity(config) })
    expect((await examine()).generations).toBe('ok g1 active, model v1')
    const stubs = await examine({ FRESHET_STUB_MODEL: 'true' })
    expect(stubs.generations).toBe('warn g1 active, model v1: not held here v1')
    await log.deleteTopic(mutationTopic(firstGeneration))
    expect((await examine()).generations).toMatch(/^fail g1 active, model v1: freshet.mutations.g1 missing$/)
  } finally {
    await log.close()
    await registry.close()
  }
})

test('a Redis that forgets on restart is warned of, and one that evicts is not fit', async () => {
  await configure('appendonly', 'no')
  expect((await examine()).redis).toMatch(/^warn .*append-only file off$/)
  await configure('maxmemory-policy', 'allkeys-lru')
  expect((await examine()).redis).toMatch(/^fail .*allkeys-lru/)
})

test('servers that are away are found', async () => {
  const [closed] = await freePorts(1)
  const away = `127.0.0.1:${closed}`
  const found = await examine({
    FRESHET_KAFKA_BROKERS: away,
    FRESHET_REGISTRY_URL: `http://${away}`,
    FRESHET_REDIS_URL: `redis://${away}`,
  })
  expect(found).toMatchObject({
    brokers: expect.stringMatching(/^fail .*log-unavailable/),
    registry: expect.stringMatching(/^fail .*registry-unavailable/),
    redis: expect.stringMatching(/^fail .*queue-unavailable/),
  })
})
