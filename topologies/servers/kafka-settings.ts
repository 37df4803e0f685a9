import type { Certificate } from './certificate.ts'

export interface KafkaSasl {
  readonly mechanism: 'plain' | 'scram-sha-256' | 'scram-sha-512'
  readonly username: string
  readonly password: string
}

/** Ports of one node, all on 127.0.0.1. */
export interface NodePorts {
  readonly client: number
  /** For the other nodes: records. */
  readonly internal: number
  /** For the other nodes: metadata. */
  readonly controller: number
}

export interface ClusterSettings {
  /** In the order of the node ids, which count from 1. */
  readonly ports: readonly NodePorts[]
  readonly certificate: Certificate | null
  /** Clients must show the same certificate. */
  readonly isMutual: boolean
  readonly sasl: KafkaSasl | null
  readonly sessionTimeoutMs: number
  /** Any broker settings; they win over ours. */
  readonly extra: Readonly<Record<string, string>>
}

/**
 * `server.properties` of one node, broker and controller in one. Clients have a listener of their own, so that
 * security concerns them alone. Caches and threads are small: several of these share a machine with all the rest.
 */
export function serverProperties(nodeId: number, dataDirectory: string, cluster: ClusterSettings): string {
  const { client, internal, controller } = cluster.ports[nodeId - 1]!
  const nodes = cluster.ports.length
  const majority = Math.floor(nodes / 2) + 1
  return propertiesOf({
    'process.roles': 'broker,controller',
    'node.id': nodeId,
    'controller.quorum.voters': cluster.ports.map((each, i) => `${i + 1}@127.0.0.1:${each.controller}`).join(','),
    listeners: `CLIENT://127.0.0.1:${client},INTERNAL://127.0.0.1:${internal},CONTROLLER://127.0.0.1:${controller}`,
    'advertised.listeners': `CLIENT://127.0.0.1:${client},INTERNAL://127.0.0.1:${internal}`,
    'listener.security.protocol.map': `CLIENT:${protocolOf(cluster)},INTERNAL:PLAINTEXT,CONTROLLER:PLAINTEXT`,
    'inter.broker.listener.name': 'INTERNAL',
    'controller.listener.names': 'CONTROLLER',
    'log.dirs': dataDirectory,
    // Topics are set up by command; a producer with a typing error must not make one.
    'auto.create.topics.enable': false,
    'num.partitions': 1,
    'default.replication.factor': nodes,
    'min.insync.replicas': majority,
    'offsets.topic.replication.factor': nodes,
    'offsets.topic.num.partitions': 4,
    'transaction.state.log.replication.factor': nodes,
    'transaction.state.log.min.isr': majority,
    'transaction.state.log.num.partitions': 4,
    'share.coordinator.state.topic.replication.factor': nodes,
    'share.coordinator.state.topic.min.isr': majority,
    'share.coordinator.state.topic.num.partitions': 1,
    'group.initial.rebalance.delay.ms': 0,
    'group.min.session.timeout.ms': 1000,
    'num.network.threads': 2,
    'num.io.threads': 4,
    'log.cleaner.dedupe.buffer.size': 16 * 2 ** 20,
    'log.cleaner.threads': 1,
    'log.cleaner.backoff.ms': 1000,
    'broker.session.timeout.ms': cluster.sessionTimeoutMs,
    'broker.heartbeat.interval.ms': Math.floor(cluster.sessionTimeoutMs / 4),
    ...tlsProperties(cluster),
    ...saslProperties(cluster.sasl),
    ...cluster.extra,
  })
}

function protocolOf({ certificate, sasl }: ClusterSettings): string {
  if (sasl === null) return certificate === null ? 'PLAINTEXT' : 'SSL'
  return certificate === null ? 'SASL_PLAINTEXT' : 'SASL_SSL'
}

type Properties = Readonly<Record<string, string | number | boolean>>

function tlsProperties({ certificate, isMutual }: ClusterSettings): Properties {
  if (certificate === null) return {}
  const mutual = {
    'listener.name.client.ssl.client.auth': 'required',
    'listener.name.client.ssl.truststore.type': 'PEM',
    'listener.name.client.ssl.truststore.certificates': certificate.certificate,
  }
  return {
    ...(isMutual ? mutual : {}),
    'listener.name.client.ssl.keystore.type': 'PEM',
    'listener.name.client.ssl.keystore.certificate.chain': certificate.certificate,
    'listener.name.client.ssl.keystore.key': certificate.privateKey,
  }
}

function saslProperties(sasl: KafkaSasl | null): Properties {
  if (sasl === null) return {}
  const mechanism = sasl.mechanism.toUpperCase()
  const login = `listener.name.client.${sasl.mechanism}.sasl.jaas.config`
  const { username, password } = sasl
  const isPlain = sasl.mechanism === 'plain'
  return {
    'sasl.enabled.mechanisms': mechanism,
    [login]: isPlain
      ? `org.apache.kafka.common.security.plain.PlainLoginModule required user_${username}="${password}";`
      : // Its users are kept in the cluster's metadata, see `scramCredential`.
        'org.apache.kafka.common.security.scram.ScramLoginModule required;',
  }
}

/** The user as the storage tool takes it; null for mechanisms whose users are settings. */
export function scramCredential({ mechanism, username, password }: KafkaSasl): string | null {
  return mechanism === 'plain' ? null : `${mechanism.toUpperCase()}=[name=${username},password=${password}]`
}

function propertiesOf(settings: Properties): string {
  return Object.entries(settings)
    .map(([name, value]) => `${name}=${String(value).trim().replaceAll('\\', '\\\\').replaceAll('\n', '\\n')}\n`)
    .join('')
}

/** Warnings, and the one line that tells that the node is ready. */
export const startedLine = 'Kafka Server started'

export const log4jProperties = propertiesOf({
  status: 'error',
  'appender.console.type': 'Console',
  'appender.console.name': 'STDOUT',
  'appender.console.layout.type': 'PatternLayout',
  'appender.console.layout.pattern': '[%d] %p %m (%c)%n',
  'rootLogger.level': 'warn',
  'rootLogger.appenderRef.0.ref': 'STDOUT',
  'logger.ready.name': 'kafka.server.KafkaRaftServer',
  'logger.ready.level': 'info',
})
