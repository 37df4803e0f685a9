import { FreshetError } from '../../schemas/errors.ts'
import type { RedisConnection } from '../redis/redis-connection.ts'

/** Of the memory Redis may use, so much is kept for work on what is in the queue. */
const reservedRatio = 0.1
const lookEveryMs = 100
const lookEveryBytes = 256 * 2 ** 10

/**
 * Keeps a full queue drainable. Claiming a job writes a little too, so a Redis that was filled to its `maxmemory` would
 * refuse to claim and could never be emptied again. Redis is asked now and then, not for every job.
 */
export class MemoryReserve {
  readonly #connection: RedisConnection
  #lookedAtMs = Number.NEGATIVE_INFINITY
  #bytesSince = 0
  #isUsedUp = false

  constructor(connection: RedisConnection) {
    this.#connection = connection
  }

  /** Before payloads of so many bytes are added. @throws FreshetError `queue-unavailable` while only the reserve is left */
  async require(bytes: number): Promise<void> {
    const now = performance.now()
    this.#bytesSince += bytes
    if (now - this.#lookedAtMs >= lookEveryMs || this.#bytesSince >= lookEveryBytes) {
      this.#lookedAtMs = now
      this.#bytesSince = bytes
      this.#isUsedUp = await this.#look()
    }
    if (!this.#isUsedUp) return
    throw new FreshetError('queue-unavailable', 'Redis is nearly out of memory: nothing is added until it is drained', {
      details: { reason: 'out-of-memory' },
    })
  }

  async #look(): Promise<boolean> {
    const info = await this.#connection.run(redis => redis.info('memory'))
    const bytesOf = (field: string) => Number(new RegExp(`^${field}:(\\d+)`, 'm').exec(info)?.[1] ?? 0)
    const limitBytes = bytesOf('maxmemory')
    return limitBytes > 0 && bytesOf('used_memory') > limitBytes * (1 - reservedRatio)
  }
}
