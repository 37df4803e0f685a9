import type { ConnectionOptions } from 'node:tls'
import kafkajs, { type Kafka, type LogEntry, type SASLOptions } from 'kafkajs'
import { registerCompressionCodecs } from './compression-codecs.ts'
import { quietIdleConnections } from './quiet-connections.ts'

/** Where the brokers are and how they know us. */
export interface KafkaConnection {
  /** `host:port`; some of them are enough. */
  readonly brokers: readonly string[]
  /** PEM texts; present, even if empty, it means TLS. Without `ca` the usual authorities are trusted. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string }
  readonly sasl?: {
    readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
    readonly username: string
    readonly password: string
  }
}

/** What the adapter reports; a pino logger fits. */
export interface KafkaLog {
  debug(fields: object, message: string): void
  warn(fields: object, message: string): void
}

/** A request that has no answer for so long counts as failed. */
const requestTimeoutMs = 15_000
/**
 * Short: whoever calls has a loop of its own around it, and kafkajs would go on asking a coordinator that is gone for
 * as long as its retries last.
 */
export const shortRetry = { retries: 3, initialRetryTime: 100, maxRetryTime: 500 } as const

export function createKafka(connection: KafkaConnection, clientId: string, log: KafkaLog | undefined): Kafka {
  registerCompressionCodecs()
  quietIdleConnections()
  const { brokers, tls, sasl } = connection
  return new kafkajs.Kafka({
    clientId,
    brokers: [...brokers],
    connectionTimeout: 3_000,
    requestTimeout: requestTimeoutMs,
    retry: shortRetry,
    // Its errors are mostly normal events such as a rebalance; what matters of them is reported by the adapter.
    logLevel: log === undefined ? kafkajs.logLevel.NOTHING : kafkajs.logLevel.WARN,
    logCreator: () => (entry: LogEntry) => log?.debug(fieldsOf(entry), 'kafkajs'),
    ...(tls === undefined ? {} : { ssl: { ...tls } satisfies ConnectionOptions }),
    // A copy: kafkajs leaves the password it began with in the object.
    ...(sasl === undefined ? {} : { sasl: { ...sasl } as SASLOptions }),
  })
}

function fieldsOf({ namespace, label, log }: LogEntry): object {
  const { message, broker, error, topic, groupId } = log
  return { namespace, severity: label, message, broker, error, topic, groupId }
}
