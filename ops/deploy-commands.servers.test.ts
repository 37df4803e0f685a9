import { afterAll, beforeAll, describe, expect, inject, test } from 'vitest'
import { writtenSchemas } from '../schemas/avro/codec.ts'
import { catalogTopic, engagementTopic, subjects } from '../schemas/topics.ts'
import { ConfluentSchemaRegistry } from '../topologies/confluent/confluent-schema-registry.ts'
import { emptyRegistry } from '../topologies/confluent/testing/empty-registry.ts'
import { KafkaEventLog } from '../topologies/kafka/kafka-event-log.ts'
import { KafkaBroker } from '../topologies/servers/kafka-broker.ts'
import { runCli } from './testing/captured-cli.ts'

const registryUrl = inject('servers').registryUrl

beforeAll(() => emptyRegistry(registryUrl))
afterAll(() => emptyRegistry(registryUrl))

/** Runs a command on the servers. */
async function freshet(...commandLine: readonly string[]) {
  const { exitCode, out, err } = await runCli([...commandLine, '--registry', registryUrl])
  return { exitCode, out, text: [...out, ...err].join('\n') }
}

async function freshetJson(...commandLine: readonly string[]) {
  const { exitCode, out } = await freshet(...commandLine, '--json')
  return { exitCode, answer: JSON.parse(out[0]!) }
}

describe('schemas', () => {
  test('check before anything is registered: all fit, and none is there', async () => {
    const { exitCode, answer } = await freshetJson('schemas', 'check')
    expect(exitCode).toBe(0)
    expect(answer.registry).toEqual(writtenSchemas.map(({ subject }) => ({ subject, state: 'new' })))
    const topics = await freshetJson('topics', 'check')
    expect(topics).toMatchObject({ exitCode: 1, answer: { error: { code: 'schema-unknown' } } })
  })

  test('one that does not fit is told with its reasons, and then none is registered', async () => {
    const registry = new ConfluentSchemaRegistry({ urls: [registryUrl], timeoutMs: 10_000 })
    const foreign = JSON.stringify({ type: 'record', name: 'freshet.Other', fields: [{ name: 'n', type: 'int' }] })
    await registry.register(subjects.control, foreign)
    const check = await freshet('schemas', 'check')
    expect(check.exitCode).toBe(1)
    expect(check.text).toContain(`${subjects.control}: records of version 1 cannot be read with it`)
    const register = await freshet('schemas', 'register')
    expect(register.exitCode).toBe(1)
    expect(register.text).toContain('Nothing was registered.')
    expect(await registry.versions(subjects.catalog)).toEqual([])
    await registry.close()
    await emptyRegistry(registryUrl)
  })

  test('register, and again', async () => {
    const first = await freshetJson('schemas', 'register')
    expect(first.exitCode).toBe(0)
    expect(first.answer.registered).toEqual(
      writtenSchemas.map(({ subject }) => ({ subject, state: 'new', version: 1, id: expect.any(Number) })),
    )
    const again = await freshetJson('schemas', 'register')
    expect(again.answer.registered).toEqual(
      first.answer.registered.map((each: object) => ({ ...each, state: 'known' })),
    )
    const { exitCode, text } = await freshet('schemas', 'check')
    expect(exitCode).toBe(0)
    expect(text).toMatch(/freshet\.catalog-value +version 1, id \d+/)
  })
})

describe('topics', () => {
  let broker: KafkaBroker
  let log: KafkaEventLog

  beforeAll(async () => {
    // The topics have their real names, so the broker is our own.
    broker = await KafkaBroker.start()
    log = new KafkaEventLog({ brokers: broker.brokers, clientId: 'deploy-test' })
  })
  afterAll(async () => {
    await log?.close()
    await broker?.stop()
  })

  const topics = (command: 'check' | 'apply', partitions: number) =>
    freshetJson('topics', command, '--brokers', broker.brokers.join(','), '--set', `partitions=${partitions}`)
  const stateOf = (answer: { topics: { topic: string; state: string }[] }) =>
    Object.fromEntries(answer.topics.map(({ topic, state }) => [topic, state]))
  const all = (state: string) => ({
    'freshet.catalog': state,
    'freshet.control': state,
    'freshet.dead-letters': state,
    'freshet.engagement': state,
    'freshet.heartbeats': state,
    'freshet.mutations.g1': state,
  })

  test('check tells what is missing and makes nothing', async () => {
    for (let i = 0; i < 2; i++) {
      const { exitCode, answer } = await topics('check', 4)
      expect(exitCode).toBe(1)
      expect(stateOf(answer)).toEqual(all('missing'))
    }
  })

  test('apply makes them with an epoch, and nothing the second time', async () => {
    const first = await topics('apply', 4)
    expect(first.exitCode).toBe(0)
    expect(stateOf(first.answer)).toEqual(all('created'))
    expect(first.answer.topicEpoch).toMatch(/^[0-9a-f]{16}$/)
    const second = await topics('apply', 4)
    expect(second.exitCode).toBe(0)
    expect(stateOf(second.answer)).toEqual(all('fits'))
    expect(second.answer.topicEpoch).toBe(first.answer.topicEpoch)
    expect([...(await log.offsets(catalogTopic)).values()].map(({ end }) => end)).toEqual([1, 1, 1, 1])
    expect(await topics('check', 4)).toMatchObject({ exitCode: 0 })
  })

  test('apply sets a duration that someone changed', async () => {
    const spec = (await log.topicSpec(engagementTopic))!
    await log.ensureTopic({ ...spec, retentionMs: 60_000 })
    expect(stateOf((await topics('check', 4)).answer)).toEqual({ ...all('fits'), [engagementTopic]: 'differs' })
    const { exitCode, answer } = await topics('apply', 4)
    expect(exitCode).toBe(0)
    expect(stateOf(answer)).toEqual({ ...all('fits'), [engagementTopic]: 'changed' })
    expect(await log.topicSpec(engagementTopic)).toEqual(spec)
  })

  test('another number of partitions is for a person: apply says what to do and changes nothing', async () => {
    const brokers = broker.brokers.join(',')
    const { exitCode, text } = await freshet('topics', 'apply', '--brokers', brokers, '--set', 'partitions=8')
    expect(exitCode).toBe(1)
    expect(text).toContain('freshet.catalog: partitions is 4, wanted is 8')
    expect(text).toContain('Set partitions to 4')
    expect(await log.partitionCount(catalogTopic)).toBe(4)
  })
})
