import type { FeaturePart, FeatureStore } from '../feature-store.ts'
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

/** Each key is a hash: part → numbers, separated by spaces, in the digits that JavaScript reads back to the same bits. */
const putPartsScript = `
for i, key in ipairs(KEYS) do
  redis.call('HSET', key, ARGV[2 * i], ARGV[2 * i + 1])
  redis.call('PEXPIRE', key, ARGV[1])
end`

/** Texts of all parts, a list per key. */
const partsScript = `
local found = {}
for i, key in ipairs(KEYS) do found[i] = redis.call('HVALS', key) end
return found`

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

  async putParts(parts: readonly FeaturePart[], ttlMs: number): Promise<void> {
    if (parts.length === 0) return
    const keys = parts.map(({ key }) => this.#keyPrefix + key)
    const texts = parts.flatMap(({ part, values }) => [part, values.join(' ')])
    await this.#connection.run(redis => redis.eval(putPartsScript, keys.length, ...keys, ttlMs, ...texts))
  }

  async readSums(keys: readonly string[]): Promise<readonly (readonly number[] | undefined)[]> {
    if (keys.length === 0) return []
    const prefixed = keys.map(key => this.#keyPrefix + key)
    const found = await this.#connection.run(redis => redis.eval(partsScript, prefixed.length, ...prefixed))
    return (found as readonly (readonly string[])[]).map(sumOf)
  }

  async close(): Promise<void> {
    this.#connection.close()
  }
}

function sumOf(texts: readonly string[]): readonly number[] | undefined {
  const [first, ...others] = texts
  if (first === undefined) return undefined
  const sums = first.split(' ').map(Number)
  for (const text of others)
    for (const [at, digits] of text.split(' ').entries()) sums[at] = (sums[at] ?? 0) + Number(digits)
  return sums
}
