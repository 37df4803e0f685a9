import type { FeatureStore } from '../feature-store.ts'
import { type RedisAddress, RedisConnection } from './redis-connection.ts'

export interface RedisFeatureStoreOptions {
  readonly redis: RedisAddress
  /** Before every key; installations that share a Redis differ in it. Default `freshet:features:`. */
  readonly keyPrefix?: string
}

/**
 * Sets each key to the larger of its value and the given one, and its time to live.
 * A script, because Redis has no command that does: `ZADD GT` keeps the larger score, but the members of a sorted set
 * do not expire. The larger one's digits are stored as they came, so every safe integer stays exact.
 */
const raiseScript = `
for i, key in ipairs(KEYS) do
  local value = ARGV[i + 1]
  local held = redis.call('GET', key)
  if held and tonumber(held) > tonumber(value) then value = held end
  redis.call('SET', key, value, 'PX', ARGV[1])
end`

/**
 * FeatureStore on Redis. It may evict or lose what it holds.
 * Errors of all calls: FreshetError `feature-store-unavailable` | `access-denied`.
 */
export class RedisFeatureStore implements FeatureStore {
  readonly #connection: RedisConnection
  readonly #keyPrefix: string

  /** Connects in the background; calls made meanwhile wait for it. */
  constructor({ redis, keyPrefix = 'freshet:features:' }: RedisFeatureStoreOptions) {
    this.#connection = new RedisConnection(redis, { unavailable: 'feature-store-unavailable' })
    this.#keyPrefix = keyPrefix
  }

  async raise(entries: readonly { readonly key: string; readonly value: number }[], ttlMs: number): Promise<void> {
    if (entries.length === 0) return
    const keys = entries.map(({ key }) => this.#keyPrefix + key)
    const values = entries.map(({ value }) => value)
    await this.#connection.run(redis => redis.eval(raiseScript, keys.length, ...keys, ttlMs, ...values))
  }

  async read(keys: readonly string[]): Promise<readonly (number | undefined)[]> {
    if (keys.length === 0) return []
    const held = await this.#connection.run(redis => redis.mget(keys.map(key => this.#keyPrefix + key)))
    return held.map(value => (value === null ? undefined : Number(value)))
  }

  async close(): Promise<void> {
    this.#connection.close()
  }
}
