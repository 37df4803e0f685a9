import { setTimeout as pause } from 'node:timers/promises'
import type { Logger } from 'pino'
import { type Codecs, openCodecs } from '../schemas/avro/codec.ts'
import { asFreshetError, type ErrorCode, FreshetError } from '../schemas/errors.ts'
import { BullmqWorkQueue } from '../topologies/bullmq/bullmq-work-queue.ts'
import type { ConfluentSchemaRegistry } from '../topologies/confluent/confluent-schema-registry.ts'
import type { EventLog, TopicSpec } from '../topologies/event-log.ts'
import type { FeatureStore } from '../topologies/feature-store.ts'
import type { KafkaEventLog } from '../topologies/kafka/kafka-event-log.ts'
import type { RedisAddress } from '../topologies/redis/redis-connection.ts'
import { RedisFeatureStore } from '../topologies/redis/redis-feature-store.ts'
import type { WorkQueue } from '../topologies/work-queue.ts'
import type { Closers } from './closers.ts'
import type { Config } from './config.ts'
import { openConfluentRegistry, openKafkaLog } from './log-and-registry.ts'
import { readPemFiles } from './pem-files.ts'
import type { LogPorts, WorkPorts } from './storage.ts'
import type { Telemetry } from './telemetry/telemetry.ts'
import { traceLog } from './telemetry/traced-log.ts'
import { readTopicEpoch } from './topic-epoch.ts'
import { checkTopics, type TopicFinding, topicSpecs } from './topic-set-up.ts'

export interface OpeningOptions {
  /** How the servers' logs name this process. */
  readonly clientId: string
  readonly log: Logger
  /** Ends the waiting for servers. */
  readonly signal: AbortSignal
  /** Takes what closes what was opened, also when the rest fails. */
  readonly closers: Closers
  /** What is appended to the log is measured and traced; not without. */
  readonly telemetry?: Pick<Telemetry, 'meter'>
}

export interface DistributedLog extends LogPorts {
  readonly log: KafkaEventLog
}

/**
 * Log and codecs of the distributed form. Waits for servers that do not answer, as long as the configuration says;
 * topics and schemas must be there.
 * @throws FreshetError `topic-missing` | `topic-mismatch` | `topic-epoch` | `schema-unknown` | `access-denied` |
 * `config-invalid`; `log-unavailable` | `registry-unavailable` when it has waited long enough
 */
export async function openDistributedLog(config: Config, options: OpeningOptions): Promise<DistributedLog> {
  const { clientId, log: logger, closers, telemetry } = options
  const registry = await openConfluentRegistry(config.registry)
  closers.add(() => registry.close())
  const codecs = await whenReachable('schema registry', config, options, () => openRegisteredCodecs(registry))
  const log = await openKafkaLog(config.kafka, { clientId, log: logger })
  if (telemetry !== undefined) traceLog(log, telemetry.meter)
  closers.add(() => log.close())
  const topicEpoch = await whenReachable('Kafka', config, options, async () => {
    await requireTopics(log, topicSpecs(config), logger)
    return readTopicEpoch(log, codecs.catalog)
  })
  return { log, codecs, partitions: config.partitions, topicEpoch }
}

/**
 * Queue and feature store of the distributed form. Waits for Redis once; what becomes of it later is for the callers,
 * who wait it out.
 * @throws FreshetError `access-denied` | `config-invalid`; `queue-unavailable` when it has waited long enough
 */
export async function openDistributedWork(config: Config, options: OpeningOptions): Promise<WorkPorts> {
  const queue = await newWorkQueue(config, options.closers)
  const features = await newFeatureStore(config, options.closers)
  await whenReachable('Redis', config, options, () => queue.depth())
  return { queue, features }
}

/** The queue of the distributed form; connects in the background. @throws FreshetError `config-invalid` */
export async function newWorkQueue({ redis }: Config, closers: Closers): Promise<WorkQueue> {
  const queue = new BullmqWorkQueue({ redis: await redisAddress(redis), prefix: redis.prefix })
  closers.add(() => queue.close())
  return queue
}

/** The feature store of the distributed form; connects in the background. @throws FreshetError `config-invalid` */
export async function newFeatureStore({ redis }: Config, closers: Closers): Promise<FeatureStore> {
  const features = new RedisFeatureStore({ redis: await redisAddress(redis), keyPrefix: `${redis.prefix}:features:` })
  closers.add(() => features.close())
  return features
}

/** @throws FreshetError `config-invalid` for PEM files that cannot be read */
export async function redisAddress({ url, password, tlsCa, tlsCert, tlsKey }: Config['redis']): Promise<RedisAddress> {
  const tls = await readPemFiles({ ca: tlsCa, cert: tlsCert, key: tlsKey })
  return {
    url,
    ...(password === null ? {} : { password }),
    // The address says whether the connection is encrypted, unless it is said here.
    ...(Object.keys(tls).length === 0 ? {} : { tls }),
  }
}

/** @throws FreshetError `topic-missing` | `topic-mismatch` that says what to do */
export async function requireTopics(log: EventLog, wanted: readonly TopicSpec[], logger: Logger): Promise<void> {
  const findings = await checkTopics(log, wanted)
  const missing = findings.filter(({ state }) => state === 'missing').map(({ topic }) => topic)
  if (missing.length > 0)
    throw new FreshetError('topic-missing', `there is no ${missing.join(', ')}: run \`freshet topics apply\``)
  for (const finding of findings) requireFit(finding, logger)
}

/** Durations that differ are no reason not to start. */
function requireFit({ topic, differences }: TopicFinding, logger: Logger): void {
  for (const { setting, wanted, present, settledBy, whatToDo } of differences) {
    if (settledBy === 'person')
      throw new FreshetError('topic-mismatch', `${topic}: ${setting} is ${present}, wanted is ${wanted}. ${whatToDo}`)
    logger.warn({ topic, setting, present, wanted, whatToDo }, 'a topic is not kept as configured')
  }
}

async function openRegisteredCodecs(registry: ConfluentSchemaRegistry): Promise<Codecs> {
  try {
    return await openCodecs(registry)
  } catch (thrown) {
    const error = asFreshetError(thrown)
    if (error.code !== 'schema-unknown') throw error
    throw new FreshetError(error.code, 'the registry lacks schemas of this version: run `freshet schemas register`', {
      cause: error,
    })
  }
}

/** A server is away, which passes. */
const away: ReadonlySet<ErrorCode> = new Set(['log-unavailable', 'registry-unavailable', 'queue-unavailable'])
const tryEveryMs = 500
const tellEveryMs = 5_000

/**
 * Tries until it works, as long as the configuration says; a failure that will not pass ends it at once.
 * @throws FreshetError what `open` threw; `not-ready` when the signal aborts
 */
export async function whenReachable<T>(
  server: string,
  { waitForServersMs }: Config,
  { log, signal }: Pick<OpeningOptions, 'log' | 'signal'>,
  open: () => Promise<T>,
): Promise<T> {
  const startedMs = performance.now()
  for (let toldMs = Number.NEGATIVE_INFINITY; ; ) {
    try {
      return await open()
    } catch (thrown) {
      const error = asFreshetError(thrown)
      const nowMs = performance.now()
      if (!away.has(error.code) || nowMs - startedMs > waitForServersMs) throw error
      if (nowMs - toldMs >= tellEveryMs) {
        log.warn({ server, code: error.code, reason: error.message }, 'waiting for a server')
        toldMs = nowMs
      }
      await pause(tryEveryMs, undefined, { signal }).catch(() => {
        throw new FreshetError('not-ready', `it was ended while it waited: ${error.message}`, { cause: error })
      })
    }
  }
}
