import { timingSafeEqual } from 'node:crypto'
import { type ApiKey, keyDigest, maxKeyLength, minKeyLength } from './api-key.ts'

/** Compared with when no key has the prefix, so that a miss takes as long as a near hit. */
const nobody = Buffer.alloc(32)

/**
 * The keys in force. Replaced as a whole while serving, which is how keys are rotated.
 *
 * A presented key is hashed first, so that its length and bytes show in no comparison; four bytes of the digest choose
 * the candidates, which nobody can steer towards without the key, and those are compared in constant time.
 */
export class KeyRing {
  #byPrefix: ReadonlyMap<number, readonly ApiKey[]> = new Map()
  #keys: readonly ApiKey[] = []

  constructor(keys: readonly ApiKey[]) {
    this.replace(keys)
  }

  get keys(): readonly ApiKey[] {
    return this.#keys
  }

  replace(keys: readonly ApiKey[]): void {
    const byPrefix = new Map<number, ApiKey[]>()
    for (const key of keys) {
      const prefix = key.digest.readUInt32LE()
      byPrefix.set(prefix, [...(byPrefix.get(prefix) ?? []), key])
    }
    this.#byPrefix = byPrefix
    this.#keys = keys
  }

  /** The key's entry; null when it is none of ours. */
  find(presented: string): ApiKey | null {
    if (presented.length < minKeyLength || presented.length > maxKeyLength) return null
    const digest = keyDigest(presented)
    const candidates = this.#byPrefix.get(digest.readUInt32LE())
    if (candidates === undefined) {
      timingSafeEqual(digest, nobody)
      return null
    }
    let found: ApiKey | null = null
    for (const key of candidates) if (timingSafeEqual(digest, key.digest)) found = key
    return found
  }
}
