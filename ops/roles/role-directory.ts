import { join } from 'node:path'
import type { Logger } from 'pino'
import { FreshetError } from '../../schemas/errors.ts'
import { type DataDirectory, openDataDirectory } from '../../topologies/embedded/data-directory.ts'
import { openKeyValueStore } from '../../topologies/embedded/embedded-key-value-store.ts'
import { EmbeddedEnvironment } from '../../topologies/embedded/environment.ts'
import type { Closers } from '../closers.ts'
import type { Config } from '../config.ts'
import type { LocalStores } from '../storage.ts'

/** Roles that have one directory may have so many processes on one machine. */
const maxProcesses = 64

/** Below the data directory of the configuration, so that roles started side by side need no options. */
export const rolesDirectory = (dataDir: string): string => join(dataDir, 'roles')

/**
 * The directory of this process alone: the first of `<role>`, `<role>-2`, … that no other process has open. What lies
 * there is made again from the log when it is missing or old, so any of them will do.
 */
export async function openFreeDirectory(dataDir: string, role: string): Promise<DataDirectory> {
  for (let number = 1; ; number++) {
    const path = join(rolesDirectory(dataDir), number === 1 ? role : `${role}-${number}`)
    try {
      return await openDataDirectory(path)
    } catch (thrown) {
      const isTaken = thrown instanceof FreshetError && thrown.code === 'data-locked'
      if (!isTaken || number === maxProcesses) throw thrown
    }
  }
}

/** That of a replica: what lies there is its own. */
export function shardRoleDirectory({ dataDir, shard: { number, replica } }: Config): string {
  return join(rolesDirectory(dataDir), `shard-${number}-${replica}`)
}

export interface LocalStoreOptions {
  readonly directory: DataDirectory
  readonly clock: () => number
  readonly log: Logger
  readonly closers: Closers
}

/** What the process keeps for itself in its directory. @throws FreshetError storage codes */
export async function openLocalStores(options: LocalStoreOptions): Promise<LocalStores> {
  const { directory, clock, log, closers } = options
  const environment = await EmbeddedEnvironment.open({ directory: directory.logDirectory, clock, log })
  closers.add(() => environment.close())
  return { keyValueStore: name => openKeyValueStore(environment, name) }
}
