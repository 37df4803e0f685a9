import type { Server } from 'node:http'
import type { AddressInfo } from 'node:net'
import { FreshetError } from '../schemas/errors.ts'
import type { Config } from './config.ts'

interface Listener {
  readonly server: Pick<Server, 'address'>
  listen(address: { readonly host: string; readonly port: number }): Promise<unknown>
}

/** Listens where the configuration says; returns the origin. @throws FreshetError `address-in-use` */
export async function listenOn(app: Listener, { host, port }: Pick<Config, 'host' | 'port'>): Promise<string> {
  await app.listen({ host, port }).catch(thrown => {
    if ((thrown as NodeJS.ErrnoException).code !== 'EADDRINUSE') throw thrown
    throw new FreshetError('address-in-use', `${host}:${port} is taken`, { cause: thrown })
  })
  const { address, port: taken, family } = app.server.address() as AddressInfo
  return `http://${family === 'IPv6' ? `[${address}]` : address}:${taken}`
}

const anyAddress: ReadonlySet<string> = new Set(['0.0.0.0', '::'])

/** Where other processes reach this one, which listens at `origin`. @throws FreshetError `config-invalid` where that cannot be told */
export function advertisedOrigin({ advertisedUrl, host }: Config, origin: string): string {
  if (advertisedUrl !== null) return new URL(advertisedUrl).origin
  if (!anyAddress.has(host)) return origin
  throw new FreshetError(
    'config-invalid',
    `host is ${host}, which others can not call: set advertisedUrl to the address under which they reach this process`,
  )
}
