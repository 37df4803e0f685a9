import { type RedisAddress, RedisConnection } from './redis-connection.ts'

/** How a Redis keeps what it is given. */
export interface RedisKeeping {
  readonly version: string
  /** What it does when its memory is full; `noeviction` refuses writes, all others lose keys. */
  readonly policy: string
  /** null: as much as the machine has. */
  readonly maxMemoryBytes: number | null
  /** Writes go to an append-only file, so that a restart finds them. */
  readonly isAppendOnly: boolean
}

/** @throws FreshetError `queue-unavailable`, `access-denied`, `config-invalid` */
export async function redisKeeping(address: RedisAddress): Promise<RedisKeeping> {
  const connection = new RedisConnection(address, { unavailable: 'queue-unavailable' })
  try {
    const info = await connection.run(client => client.info())
    const maxMemoryBytes = Number(fieldOf(info, 'maxmemory'))
    return {
      version: fieldOf(info, 'redis_version'),
      policy: fieldOf(info, 'maxmemory_policy'),
      maxMemoryBytes: maxMemoryBytes > 0 ? maxMemoryBytes : null,
      isAppendOnly: fieldOf(info, 'aof_enabled') === '1',
    }
  } finally {
    connection.close()
  }
}

function fieldOf(info: string, name: string): string {
  return new RegExp(`^${name}:(.*?)\\r?$`, 'm').exec(info)?.[1] ?? 'unknown'
}
