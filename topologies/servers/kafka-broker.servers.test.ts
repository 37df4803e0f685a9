import { existsSync } from 'node:fs'
import { mkdtemp, rm } from 'node:fs/promises'
import { tmpdir } from 'node:os'
import { join } from 'node:path'
import { Kafka, type KafkaConfig, logLevel } from 'kafkajs'
import { afterEach, expect, test, vi } from 'vitest'
import { KafkaBroker, type KafkaBrokerOptions } from './kafka-broker.ts'
import type { KafkaSasl } from './kafka-settings.ts'

const running: KafkaBroker[] = []
afterEach(async () => {
  await Promise.all(running.splice(0).map(broker => broker.stop()))
})

async function start(options: KafkaBrokerOptions = {}): Promise<KafkaBroker> {
  const broker = await KafkaBroker.start(options)
  running.push(broker)
  return broker
}

const patient = { retries: 60, maxRetryTime: 1_000 }

function clientOf(broker: KafkaBroker, config: Partial<KafkaConfig> = {}): Kafka {
  return new Kafka({ brokers: [...broker.brokers], logLevel: logLevel.NOTHING, retry: patient, ...config })
}

async function withAdmin<T>(client: Kafka, body: (admin: ReturnType<Kafka['admin']>) => Promise<T>): Promise<T> {
  const admin = client.admin()
  await admin.connect()
  try {
    return await body(admin)
  } finally {
    await admin.disconnect()
  }
}

async function sendOne(client: Kafka, topic: string): Promise<void> {
  const producer = client.producer({ allowAutoTopicCreation: false })
  await producer.connect()
  await producer.send({ topic, messages: [{ value: 'one' }] })
  await producer.disconnect()
}

const highOf = async (client: Kafka, topic: string): Promise<string | undefined> =>
  withAdmin(client, async admin => (await admin.fetchTopicOffsets(topic))[0]?.high)

test('records survive kill -9 and a start on the same address; in a directory of the caller they survive stop', async () => {
  const directory = await mkdtemp(join(tmpdir(), 'freshet-kept-'))
  const broker = await start({ directory })
  const client = clientOf(broker)
  await withAdmin(client, admin => admin.createTopics({ topics: [{ topic: 'kept' }] }))
  await sendOne(client, 'kept')
  const before = broker.pidOf(1)!
  await broker.kill()
  expect(broker.pidOf(1)).toBeNull()
  await broker.startAgain()
  expect(broker.pidOf(1)).not.toBe(before)
  await sendOne(client, 'kept')
  await broker.stop()
  expect(broker.pidOf(1)).toBeNull()
  const next = await start({ directory })
  expect(await highOf(clientOf(next), 'kept')).toBe('2')
  await next.stop()
  await rm(directory, { recursive: true })
})

test('three nodes: the leader is killed, another leads; started again it is in sync', async () => {
  const broker = await start({ nodes: 3 })
  const client = clientOf(broker)
  const topics = [{ topic: 'replicated', numPartitions: 1, replicationFactor: 3 }]
  const partition = () =>
    withAdmin(
      client,
      async admin => (await admin.fetchTopicMetadata({ topics: ['replicated'] })).topics[0]!.partitions[0]!,
    )
  await withAdmin(client, admin => admin.createTopics({ topics }))
  await sendOne(client, 'replicated')
  const { leader } = await partition()
  await broker.kill(leader)
  await vi.waitUntil(async () => ![leader, -1].includes((await partition()).leader), { timeout: 60_000 })
  expect(broker.nodeIds.filter(nodeId => broker.pidOf(nodeId) === null)).toEqual([leader])
  await sendOne(client, 'replicated')
  await broker.startAgain()
  await vi.waitUntil(async () => (await partition()).isr.length === 3, { timeout: 60_000 })
  expect(await highOf(client, 'replicated')).toBe('2')
})

/** A new object each time: kafkajs keeps in it what it has derived from the first password. */
const saslOf = <M extends KafkaSasl['mechanism']>(mechanism: M, password = 'right') =>
  ({ mechanism, username: 'freshet', password }) as const

test('TLS and SCRAM: the user gets in; who does not trust the certificate or has no password does not', async () => {
  const broker = await start({ security: { tls: true, sasl: saslOf('scram-sha-512') } })
  const ssl = { ca: [broker.certificateAuthority!] }
  const listTopics = (config: Partial<KafkaConfig>) =>
    withAdmin(clientOf(broker, { retry: { retries: 0 }, ...config }), admin => admin.listTopics())
  expect(await listTopics({ ssl, sasl: saslOf('scram-sha-512') })).toEqual([])
  await expect(listTopics({ ssl, sasl: saslOf('scram-sha-512', 'wrong') })).rejects.toThrow('Authentication failed')
  await expect(listTopics({ ssl: true, sasl: saslOf('scram-sha-512') })).rejects.toThrow('self-signed certificate')
  await expect(listTopics({})).rejects.toThrow()
})

test('SASL PLAIN; a producer cannot make a topic by mistake; after stop nothing is left', async () => {
  const broker = await start({ security: { sasl: saslOf('plain') } })
  const client = (password: string) => clientOf(broker, { retry: { retries: 1 }, sasl: saslOf('plain', password) })
  await expect(withAdmin(client('wrong'), admin => admin.listTopics())).rejects.toThrow('Authentication failed')
  await expect(sendOne(client('right'), 'mistyped')).rejects.toThrow('does not host this topic-partition')
  expect(await withAdmin(client('right'), admin => admin.listTopics())).toEqual([])
  const { directory } = broker
  expect(existsSync(directory)).toBe(true)
  await broker.stop()
  expect(existsSync(directory)).toBe(false)
})
