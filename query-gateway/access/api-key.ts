import { createHash } from 'node:crypto'
import { FreshetError } from '../../schemas/errors.ts'

/** What a key may do, from least to most; each may do what the ones before it may. */
export const roles = ['read', 'write', 'admin'] as const
export type Role = (typeof roles)[number]

/** A key as the server knows it: never the key itself. */
export interface ApiKey {
  /** Who holds it; in messages, logs and metrics. */
  readonly name: string
  readonly role: Role
  /** SHA-256 of the key, 32 bytes. A fast hash is enough, since keys are random and not words people think of. */
  readonly digest: Buffer
  /** Null: the limit that holds for all. 0: none. */
  readonly requestsPerMinute: number | null
}

/** Entropy of a key that we make; with the prefix, which lets scanners of leaked secrets find it, 54 characters. */
export const keyBytes = 32
const keyPrefix = 'freshet_sk_'
/** Nothing shorter is a key: a mistaken file of passwords shall not work. */
export const minKeyLength = 32
export const maxKeyLength = 256

/** A new key from 32 random bytes. Shown once; only its digest is kept. */
export function keyFrom(random: Uint8Array): string {
  return `${keyPrefix}${Buffer.from(random).toString('base64url')}`
}

export function keyDigest(key: string): Buffer {
  return createHash('sha256').update(key, 'utf8').digest()
}

export function covers(held: Role, needed: Role): boolean {
  return roles.indexOf(held) >= roles.indexOf(needed)
}

/** The line of a file of keys. */
export function keyLine({ name, role, digest, requestsPerMinute }: ApiKey): string {
  const limit = requestsPerMinute === null ? '' : ` ${requestsPerMinute}/min`
  return `${name} ${role} sha256:${digest.toString('hex')}${limit}`
}

/**
 * Keys from lines `NAME ROLE sha256:HEX [N/min]`; blank ones and those that begin with # are passed over. Several keys
 * of one name are one holder's old and new key.
 * @throws FreshetError `config-invalid` naming the line, never its text: it may hold a key somebody pasted
 */
export function parseKeyLines(lines: readonly string[], from: string): readonly ApiKey[] {
  const keys: ApiKey[] = []
  for (const [index, line] of lines.entries()) {
    const text = line.trim()
    if (text === '' || text.startsWith('#')) continue
    const key = parseKeyLine(text)
    if (key === null)
      throw new FreshetError(
        'config-invalid',
        `line ${index + 1} of ${from} is not NAME ROLE sha256:HEX [N/min]; make one with \`freshet key new\``,
      )
    const twin = keys.find(({ digest }) => digest.equals(key.digest))
    if (twin) throw new FreshetError('config-invalid', `line ${index + 1} of ${from} is the key of ${twin.name} again`)
    keys.push(key)
  }
  return keys
}

export const keyName = /^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$/

function parseKeyLine(text: string): ApiKey | null {
  const [name = '', roleText = '', digestText = '', limitText, ...rest] = text.split(/\s+/)
  const role = roles.find(each => each === roleText)
  const [, hex] = /^sha256:([0-9a-f]{64})$/i.exec(digestText) ?? []
  const [, limit = null] = limitText === undefined ? [] : (/^(\d{1,9})\/min$/.exec(limitText) ?? [null, undefined])
  const isWrongLimit = limitText !== undefined && limit === null
  if (!keyName.test(name) || role === undefined || hex === undefined || isWrongLimit || rest.length > 0) return null
  return { name, role, digest: Buffer.from(hex, 'hex'), requestsPerMinute: limit === null ? null : Number(limit) }
}
