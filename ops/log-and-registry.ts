import { ConfluentSchemaRegistry } from '../topologies/confluent/confluent-schema-registry.ts'
import type { KafkaConnection } from '../topologies/kafka/kafka-connection.ts'
import { KafkaEventLog, type KafkaEventLogOptions } from '../topologies/kafka/kafka-event-log.ts'
import type { Config } from './config.ts'
import { readPemFiles } from './pem-files.ts'

const registryTimeoutMs = 10_000

/** The log of the distributed form; connects when first used. @throws FreshetError `config-invalid` for PEM files that cannot be read */
export async function openKafkaLog(
  kafka: Config['kafka'],
  options: Pick<KafkaEventLogOptions, 'clientId' | 'log' | 'patienceMs'>,
): Promise<KafkaEventLog> {
  return new KafkaEventLog({ ...(await kafkaConnection(kafka)), ...options })
}

/** The registry of the distributed form; connects when first used. @throws FreshetError `config-invalid` for PEM files that cannot be read */
export async function openConfluentRegistry(registry: Config['registry']): Promise<ConfluentSchemaRegistry> {
  const { url, otherUrls, username, password, token, tlsCa, tlsCert, tlsKey } = registry
  return new ConfluentSchemaRegistry({
    urls: [url, ...otherUrls],
    timeoutMs: registryTimeoutMs,
    tls: await readPemFiles({ ca: tlsCa, cert: tlsCert, key: tlsKey }),
    ...(token === null ? {} : { bearerToken: token }),
    ...(username === null ? {} : { username }),
    ...(password === null ? {} : { password }),
  })
}

async function kafkaConnection(kafka: Config['kafka']): Promise<KafkaConnection> {
  const { brokers, tls, tlsCa, tlsCert, tlsKey, sasl, username, password } = kafka
  return {
    brokers,
    ...(tls ? { tls: await readPemFiles({ ca: tlsCa, cert: tlsCert, key: tlsKey }) } : {}),
    // That they go together was checked with the configuration.
    ...(sasl === 'none' ? {} : { sasl: { mechanism: sasl, username: username!, password: password! } }),
  }
}
