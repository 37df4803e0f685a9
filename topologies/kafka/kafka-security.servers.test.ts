import { afterEach, expect, test } from 'vitest'
import { createCertificate } from '../servers/certificate.ts'
import { KafkaBroker } from '../servers/kafka-broker.ts'
import { KafkaFixture, p, pollCount, record, textOf } from './testing/kafka-fixture.ts'

let broker: KafkaBroker | null = null
const fixtures: KafkaFixture[] = []

afterEach(async () => {
  await Promise.all(fixtures.splice(0).map(fixture => fixture.close()))
  await broker?.stop()
  broker = null
})

function open(options: ConstructorParameters<typeof KafkaFixture>[1]): KafkaFixture {
  const fixture = new KafkaFixture(broker!.brokers, options)
  fixtures.push(fixture)
  return fixture
}

test('with mutual TLS the log works for a client that shows its certificate; without one, or with another, it is denied', async () => {
  broker = await KafkaBroker.start({ security: { tls: 'mutual' } })
  const { certificate: cert, privateKey: key } = broker.clientCertificate!
  const ca = broker.certificateAuthority!
  const fixture = open({ tls: { ca, cert, key } })
  await fixture.createTopic(1)
  const { topic, log } = fixture
  await log.append(topic, [record(p(0), 'a')])
  const reader = await log.openReader({ topic, partitions: 'group', group: topic, from: 'committed' })
  expect((await pollCount(reader, 1)).map(textOf)).toEqual(['a'])
  const stranger = await createCertificate()
  for (const shown of [{}, { cert: stranger.certificate, key: stranger.privateKey }])
    await expect(open({ tls: { ca, ...shown } }).log.offsets(topic)).rejects.toMatchObject({ code: 'access-denied' })
})

test.each(['plain', 'scram-sha-512'] as const)(
  'with TLS and a password by %s the log works; with another password or an unknown authority it is denied',
  async mechanism => {
    const sasl = { mechanism, username: 'freshet', password: 'open-sesame' }
    broker = await KafkaBroker.start({ security: { tls: true, sasl } })
    const tls = { ca: broker.certificateAuthority! }
    const fixture = open({ tls, sasl })
    await fixture.createTopic(1)
    const { topic, log } = fixture
    await log.append(topic, [record(p(0), 'a')])
    const reader = await log.openReader({ topic, partitions: 'group', group: topic, from: 'committed' })
    expect((await pollCount(reader, 1)).map(textOf)).toEqual(['a'])
    const denied = { code: 'access-denied' }
    await expect(open({ tls, sasl: { ...sasl, password: 'wrong' } }).log.offsets(topic)).rejects.toMatchObject(denied)
    await expect(open({ tls: {}, sasl }).log.offsets(topic)).rejects.toMatchObject(denied)
  },
)
