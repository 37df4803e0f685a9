import { FreshetError } from '../schemas/errors.ts'
import type { Config } from './config.ts'

/** Whether a rule is broken, and the sentence an operator reads then. */
type Rule = readonly [isBroken: boolean, message: string]

/** Rules that concern more than one option. @throws FreshetError `config-invalid` */
export function checkTogether(config: Config): void {
  requireNone([...commonRules(config), ...kafkaRules(config), ...registryRules(config), ...redisRules(config)])
}

/** Whether callers of the API must show a key. */
export function asksForKeys({ access }: Pick<Config, 'access'>): boolean {
  return access.keysFile !== null || access.keys.length > 0
}

/**
 * The rule of a process that serves the public API.
 * @throws FreshetError `config-invalid`
 */
export function checkPublicHost(config: Pick<Config, 'host' | 'allowUnauthenticated' | 'access'>): void {
  const { host, allowUnauthenticated } = config
  requireNone([
    [
      !isLoopback(host) && !allowUnauthenticated && !asksForKeys(config),
      `host ${host} is reachable from other machines and the API asks nobody who they are; set access.keysFile, keep 127.0.0.1 behind a proxy, or set allowUnauthenticated`,
    ],
    [
      allowUnauthenticated && asksForKeys(config),
      'allowUnauthenticated is set although there are API keys: decide for one of them',
    ],
  ])
}

/**
 * The rule of a process that only other roles call.
 * @throws FreshetError `config-invalid`
 */
export function checkInternalHost(config: Pick<Config, 'host' | 'allowUnauthenticated' | 'internalSecret'>): void {
  const { host, allowUnauthenticated, internalSecret } = config
  requireNone([
    [
      !isLoopback(host) && !allowUnauthenticated && internalSecret === null,
      `host ${host} is reachable from other machines and this role asks nobody who they are; set internalSecret, or allowUnauthenticated`,
    ],
  ])
}

/** Whether only processes of this machine reach it. */
export function isLoopback(host: string): boolean {
  return /^(127(\.\d{1,3}){3}|::1|localhost)$/.test(host)
}

function commonRules(config: Config): readonly Rule[] {
  const { host, allowUnauthenticated, internalSecret, limits, workers, dispatch, log } = config
  return [
    ...accessRules(config),
    [
      !isLoopback(host) && !allowUnauthenticated && internalSecret === null && !asksForKeys(config),
      `host ${host} is reachable from other machines and the API asks nobody who they are; set access.keysFile, keep 127.0.0.1 behind a proxy, or set allowUnauthenticated; shards and dispatchers may set internalSecret instead`,
    ],
    [config.shards > config.partitions, `shards (${config.shards}) is more than partitions (${config.partitions})`],
    [limits.imageBytes > limits.bodyBytes, 'limits.imageBytes is more than limits.bodyBytes, so no such upload fits'],
    [limits.bodyBytes > limits.heldBodyBytes, 'limits.bodyBytes is more than limits.heldBodyBytes'],
    [limits.imageBytes > config.blobStoreMaxBytes, 'limits.imageBytes is more than blobStoreMaxBytes'],
    [workers.supersedeForMs > workers.failAfterMs, 'workers.supersedeForMs is more than workers.failAfterMs'],
    [
      dispatch.tombstoneRetentionMs < log.compactionLagMs,
      'dispatch.tombstoneRetentionMs is less than log.compactionLagMs, so removals would end before log compaction begins',
    ],
  ]
}

function accessRules(config: Config): readonly Rule[] {
  const { access, allowUnauthenticated } = config
  const wrong = access.corsOrigins.find(origin => origin !== '*' && URL.parse(origin)?.origin !== origin)
  return [
    [wrong !== undefined, `access.corsOrigins holds ${wrong}, which is no origin such as https://shop.example`],
    [
      access.corsOrigins.includes('*') && !asksForKeys(config) && !allowUnauthenticated,
      'access.corsOrigins is * and no keys are asked for, so that any web page could use this server; name the origins, or set access.keysFile',
    ],
  ]
}

function kafkaRules({ kafka }: Config): readonly Rule[] {
  const { sasl, username, password, tls, tlsCa, tlsCert, tlsKey } = kafka
  const hasUser = username !== null && password !== null
  return [
    [sasl !== 'none' && !hasUser, `kafka.sasl is ${sasl}, which needs kafka.username and kafka.password`],
    [
      sasl === 'none' && (username !== null || password !== null),
      'kafka.username or kafka.password is given, but kafka.sasl is none, so nobody is asked for them',
    ],
    [!tls && [tlsCa, tlsCert, tlsKey].some(isGiven), 'a PEM file for Kafka is given, but kafka.tls is false'],
    [isGiven(tlsCert) !== isGiven(tlsKey), 'kafka.tlsCert and kafka.tlsKey go together'],
    [
      kafka.brokers.length === 0 || !kafka.brokers.every(broker => /^(\[[0-9a-f:]+\]|[^:\s]+):\d{1,5}$/i.test(broker)),
      'kafka.brokers is a list of host:port',
    ],
  ]
}

function registryRules({ registry }: Config): readonly Rule[] {
  const { url, otherUrls, username, password, token, tlsCa, tlsCert, tlsKey } = registry
  const urls = [url, ...otherUrls].map(each => URL.parse(each))
  return [
    [
      !urls.every(each => each !== null && /^https?:$/.test(each.protocol)),
      'registry.otherUrls is a list of addresses with http: or https:',
    ],
    [isGiven(username) !== isGiven(password), 'registry.username and registry.password go together'],
    [
      isGiven(username) && isGiven(token),
      'registry.token is given, so registry.username is never shown: take one away',
    ],
    [
      [tlsCa, tlsCert, tlsKey].some(isGiven) && !urls.every(each => each?.protocol === 'https:'),
      'a PEM file for the registry is given, but an address in registry.url or registry.otherUrls does not begin with https:',
    ],
    [isGiven(tlsCert) !== isGiven(tlsKey), 'registry.tlsCert and registry.tlsKey go together'],
    [
      urls.some(each => each !== null && each.username !== ''),
      'an address of the registry holds a user; set registry.username and registry.password instead',
    ],
  ]
}

function redisRules({ redis: { url, tlsCa, tlsCert, tlsKey } }: Config): readonly Rule[] {
  return [
    [
      [tlsCa, tlsCert, tlsKey].some(isGiven) && !url.startsWith('rediss:'),
      'a PEM file for Redis is given, but redis.url does not begin with rediss:',
    ],
    [isGiven(tlsCert) !== isGiven(tlsKey), 'redis.tlsCert and redis.tlsKey go together'],
  ]
}

function isGiven(value: string | null): boolean {
  return value !== null
}

function requireNone(rules: readonly Rule[]): void {
  const message = rules.find(([isBroken]) => isBroken)?.[1]
  if (message !== undefined) throw new FreshetError('config-invalid', message)
}
