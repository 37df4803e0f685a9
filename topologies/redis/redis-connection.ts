import { isIP } from 'node:net'
import { setTimeout as delay } from 'node:timers/promises'
import { Redis } from 'ioredis'
import { FreshetError } from '../../schemas/errors.ts'
import { GuardedConnector } from './guarded-connector.ts'
import { closedFailure, redisFailure, type UnavailableCode } from './redis-failure.ts'

interface RedisCredentials {
  /** Default user when absent. */
  readonly username?: string
  readonly password?: string
  /** PEM texts. Present, even without any, the connection is encrypted and the server's certificate checked. */
  readonly tls?: { readonly ca?: string; readonly cert?: string; readonly key?: string }
}

/** Where a Redis is and how it lets us in. Credentials beside a URL win over those in it. */
export type RedisAddress = RedisCredentials &
  (
    | {
        /** `redis://user:password@host:port/database`, or `rediss://…` for an encrypted connection. */
        readonly url: string
      }
    | { readonly host: string; readonly port: number; readonly database?: number }
  )

export interface RedisConnectionOptions {
  /** The code of failures that another try may mend. */
  readonly unavailable: UnavailableCode
  /** How long an answer may take before the connection is given up and made anew. Default 10,000. */
  readonly answerWithinMs?: number
}

/** The library's client, for those who get one from a connection. */
export type RedisClient = Redis

const connectWithinMs = 3_000
const longestReconnectPauseMs = 1_000
const defaultPort = 6379

/**
 * One connection to Redis; the only place that knows the client library.
 *
 * connecting → ready ⇄ away → closed. While connecting for the first time, calls wait for the outcome; while away they
 * fail at once with what the last attempt failed of, and attempts go on in the background. What was sent when a
 * connection breaks fails too and is not sent again: whether it was done is not known.
 */
export class RedisConnection {
  readonly #client: Redis
  readonly #unavailable: UnavailableCode
  /** Why calls can not be served; null while ready or connecting for the first time. */
  #failure: FreshetError | null = null
  #isClosed = false
  readonly #firstOutcome = Promise.withResolvers<void>()

  /** Connects in the background. */
  constructor(address: RedisAddress, options: RedisConnectionOptions) {
    this.#unavailable = options.unavailable
    this.#client = new Redis({
      ...clientOptions(address),
      Connector: GuardedConnector,
      enableOfflineQueue: false,
      maxRetriesPerRequest: 0,
      connectTimeout: connectWithinMs,
      socketTimeout: options.answerWithinMs ?? 10_000,
      maxLoadingRetryTime: longestReconnectPauseMs,
      retryStrategy: attempt => Math.min(50 * 2 ** attempt, longestReconnectPauseMs),
      reconnectOnError: error => this.#isElsewhere(error),
    })
    this.#client.on('ready', () => this.#settle(null))
    this.#client.on('error', (error: Error) => {
      if (this.#client.status !== 'ready') this.#settle(redisFailure(error, this.#unavailable))
    })
    this.#client.on('close', () => {
      this.#settle(this.#failure ?? redisFailure(new Error('the connection was lost'), this.#unavailable))
    })
  }

  /** For libraries that bring their commands with them. Their calls go through `run` all the same. */
  get client(): Redis {
    return this.#client
  }

  /**
   * Runs commands on a connection that is ready.
   * @throws FreshetError the code for being unavailable, `access-denied`
   */
  async run<T>(commands: (client: Redis) => Promise<T>): Promise<T> {
    await this.#requireReady()
    this.#writeTogether()
    try {
      return await commands(this.#client)
    } catch (thrown) {
      throw this.#isClosed ? closedFailure(this.#unavailable) : redisFailure(thrown, this.#unavailable)
    }
  }

  /** Ends what is in flight with a failure. Repeatable. */
  close(): void {
    this.#isClosed = true
    this.#client.disconnect()
    this.#settle(closedFailure(this.#unavailable))
  }

  /**
   * What is sent in this turn goes in one write: a queue sends a command for each job. The client's own pipelines would
   * do the same, but forget commands for ever when the connection ends in between.
   */
  #writeTogether(): void {
    const { stream } = this.#client
    stream.cork()
    setImmediate(() => stream.uncork())
  }

  async #requireReady(): Promise<void> {
    if (this.#isClosed) throw closedFailure(this.#unavailable)
    if (this.#failure === null && this.#client.status !== 'ready') {
      const isLate = await Promise.race([this.#firstOutcome.promise, delay(connectWithinMs, true, { ref: false })])
      if (isLate) throw redisFailure(new Error('it is not ready yet'), this.#unavailable)
    }
    if (this.#failure !== null) throw this.#failure
  }

  #settle(failure: FreshetError | null): void {
    this.#failure = failure
    this.#firstOutcome.resolve()
  }

  /** After a failover the old primary is a replica, and its name may lead to the new one by now: connect anew. */
  #isElsewhere(error: Error): boolean {
    const isElsewhere = error.message.includes('READONLY')
    if (isElsewhere) this.#failure = redisFailure(error, this.#unavailable)
    return isElsewhere
  }
}

/** @throws FreshetError `config-invalid` */
function clientOptions(address: RedisAddress) {
  const { username, password, tls, ...place } = 'url' in address ? { ...partsOf(address.url), ...address } : address
  const { host, port, database = 0 } = place
  const options = { host, port, db: database, username, password }
  return tls === undefined
    ? options
    : { ...options, tls: { ...tls, ...(isIP(host) === 0 ? { servername: host } : {}) } }
}

type Parts = RedisCredentials & { readonly host: string; readonly port: number; readonly database: number }

function partsOf(url: string): Parts {
  const parsed = URL.parse(url)
  const database = Number(parsed?.pathname.slice(1) || 0)
  if (parsed === null || !/^rediss?:$/.test(parsed.protocol) || parsed.hostname === '' || !Number.isInteger(database))
    throw new FreshetError('config-invalid', 'an address of Redis is redis://user:password@host:port/database')
  const { username, password } = parsed
  return {
    host: parsed.hostname.replace(/^\[|\]$/g, ''),
    port: Number(parsed.port || defaultPort),
    database,
    ...(username === '' ? {} : { username: decodeURIComponent(username) }),
    ...(password === '' ? {} : { password: decodeURIComponent(password) }),
    ...(parsed.protocol === 'rediss:' ? { tls: {} } : {}),
  }
}
