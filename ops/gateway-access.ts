import { randomBytes } from 'node:crypto'
import type { Logger } from 'pino'
import type { AccessOptions } from '../query-gateway/access/access-options.ts'
import { type ApiKey, keyBytes, keyDigest, keyFrom, parseKeyLines } from '../query-gateway/access/api-key.ts'
import { KeyRing } from '../query-gateway/access/key-ring.ts'
import { FreshetError } from '../schemas/errors.ts'
import type { Alarms } from './alarms.ts'
import type { Closers } from './closers.ts'
import type { Config } from './config.ts'
import { asksForKeys } from './config-rules.ts'
import { type FileVersion, readKeyFile, versionOf } from './key-file.ts'

export interface GatewayAccess {
  readonly access: AccessOptions
  /** Null: any name of the server will do, since who has a key is no victim of a rebound name. */
  readonly allowedHosts: null | undefined
  /** With which this process calls its own API; null where none is asked for. Lives as long as the process. */
  readonly ownKey: string | null
}

interface AccessContext {
  readonly log: Logger
  readonly alarms: Alarms
  readonly closers: Closers
}

const lookEveryMs = 1_000

/**
 * Who may call the API. The file of keys is looked at once a second and read again when it changed, so that keys are
 * added and taken back without a restart; a file that cannot be read then leaves the keys in force as they were.
 * @throws FreshetError `config-invalid`
 */
export async function openGatewayAccess(config: Config, context: AccessContext): Promise<GatewayAccess> {
  const { open, requestsPerMinute, corsOrigins } = config.access
  const common = { open, requestsPerMinute, corsOrigins }
  if (!asksForKeys(config)) {
    if (config.allowUnauthenticated)
      context.log.warn({ host: config.host }, 'allowUnauthenticated: the API asks nobody who they are')
    const allowedHosts = config.allowUnauthenticated ? null : undefined
    return { access: { ...common, keys: null }, allowedHosts, ownKey: null }
  }
  const ownKey = keyFrom(randomBytes(keyBytes))
  const fixed = [ownEntry(ownKey), ...parseKeyLines(config.access.keys, 'access.keys')]
  const keys = new KeyRing(fixed)
  if (config.access.keysFile !== null) await followKeyFile(config.access.keysFile, { ...context, keys, fixed })
  return { access: { ...common, keys }, allowedHosts: null, ownKey }
}

function ownEntry(key: string): ApiKey {
  return { name: 'this-process', role: 'admin', digest: keyDigest(key), requestsPerMinute: 0 }
}

interface Following extends AccessContext {
  readonly keys: KeyRing
  readonly fixed: readonly ApiKey[]
}

async function followKeyFile(path: string, { keys, fixed, log, alarms, closers }: Following): Promise<void> {
  let seen: FileVersion | null = await versionOf(path)
  keys.replace([...fixed, ...(await readKeyFile(path))])
  const look = async (): Promise<void> => {
    const version = await versionOf(path)
    if (version === seen) return
    seen = version
    try {
      const read = await readKeyFile(path)
      keys.replace([...fixed, ...read])
      log.info({ keys: read.length }, 'the file of API keys changed and is in force')
    } catch (thrown) {
      const message = `${(thrown as Error).message}; the keys read before stay in force`
      alarms.raise('keys', new FreshetError('config-invalid', message, { cause: thrown }))
    }
  }
  let looking: Promise<void> = Promise.resolve()
  const timer = setInterval(() => {
    looking = looking.then(look)
  }, lookEveryMs)
  timer.unref()
  closers.add(async () => {
    clearInterval(timer)
    await looking
  })
}
