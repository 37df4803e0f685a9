import { FreshetError } from '../../schemas/errors.ts'
import type { FeaturePart, FeatureStore } from '../feature-store.ts'
import type { EmbeddedEnvironment, Upkeep } from './environment.ts'
import { maxRowKeyBytes, type WriteBatch } from './write-batch.ts'

interface Feature {
  readonly value: number
  readonly expiresAtMs: number
  /** Of a key that is written by parts. */
  readonly parts?: ReadonlyMap<string, readonly number[]>
}

const rowsPerSlice = 512
const sweepIntervalMs = 600_000
const firstKey = Buffer.from([0])
const afterAllUtf8 = Buffer.from([0xff])

/**
 * FeatureStore on the embedded environment. A row is the key in UTF-8 · value f64 · expiry time in ms f64; of a key that
 * is written by parts the value is 0, and each part follows: length of its name u8 · name in UTF-8 · count u8 · f64s.
 * Numbers are big-endian.
 */
export class EmbeddedFeatureStore implements FeatureStore {
  readonly #environment: EmbeddedEnvironment
  readonly #detach: () => Promise<void>
  /** What the transaction being put together has written so far; reads see committed rows only. */
  #staged: { readonly batch: WriteBatch; readonly features: Map<string, Feature> } | null = null

  constructor(environment: EmbeddedEnvironment) {
    this.#environment = environment
    this.#detach = environment.attach({ table: 'features', upkeep: new ExpirySweep(environment) })
  }

  async raise(entries: readonly { readonly key: string; readonly value: number }[], ttlMs: number): Promise<void> {
    if (entries.length === 0) return
    for (const { key } of entries) requireKey(key)
    await this.#environment.write(batch => {
      const expiresAtMs = this.#environment.clock() + ttlMs
      const staged = this.#stagedFeatures(batch)
      for (const { key, value } of entries) {
        const before = staged.get(key) ?? this.#stored(key)
        const feature = { value: before === undefined ? value : Math.max(before.value, value), expiresAtMs }
        staged.set(key, feature)
        batch.put('features', Buffer.from(key), encode(feature))
      }
    })
  }

  async read(keys: readonly string[]): Promise<readonly (number | undefined)[]> {
    return keys.map(key => this.#stored(key)?.value)
  }

  async putParts(parts: readonly FeaturePart[], ttlMs: number): Promise<void> {
    if (parts.length === 0) return
    for (const { key } of parts) requireKey(key)
    await this.#environment.write(batch => {
      const expiresAtMs = this.#environment.clock() + ttlMs
      const staged = this.#stagedFeatures(batch)
      for (const { key, part, values } of parts) {
        const before = staged.get(key) ?? this.#stored(key)
        staged.set(key, { value: 0, expiresAtMs, parts: new Map(before?.parts).set(part, values) })
      }
      for (const key of new Set(parts.map(each => each.key)))
        batch.put('features', Buffer.from(key), encode(staged.get(key)!))
    })
  }

  async readSums(keys: readonly string[]): Promise<readonly (readonly number[] | undefined)[]> {
    return keys.map(key => sumOf(this.#stored(key)?.parts))
  }

  /** The environment stays open. */
  close(): Promise<void> {
    return this.#detach()
  }

  #stagedFeatures(batch: WriteBatch): Map<string, Feature> {
    if (this.#staged?.batch !== batch) this.#staged = { batch, features: new Map() }
    return this.#staged.features
  }

  #stored(key: string): Feature | undefined {
    const row = this.#environment.get('features', Buffer.from(key))
    if (row === undefined || expiryOf(row) <= this.#environment.clock()) return undefined
    const feature = { value: row.readDoubleBE(0), expiresAtMs: expiryOf(row) }
    return row.length === headBytes ? feature : { ...feature, parts: partsOf(row) }
  }
}

/** Removes expired rows, in passes over all rows with a long pause between them. */
class ExpirySweep implements Upkeep {
  readonly #environment: EmbeddedEnvironment
  #position: Buffer = firstKey
  #nextPassAtMs = 0

  constructor(environment: EmbeddedEnvironment) {
    this.#environment = environment
  }

  async runSlice(): Promise<boolean> {
    const now = this.#environment.clock()
    if (now < this.#nextPassAtMs) return false
    const range = { start: this.#position, end: afterAllUtf8, exclusiveStart: true, limit: rowsPerSlice }
    const rows = [...this.#environment.range('features', range)]
    const expired = rows.filter(({ value }) => expiryOf(value) <= now)
    if (expired.length > 0) await this.#remove(expired.map(({ key }) => key))
    this.#position = rows.at(-1)?.key ?? firstKey
    if (rows.length < rowsPerSlice) {
      this.#position = firstKey
      this.#nextPassAtMs = now + sweepIntervalMs
    }
    return rows.length === rowsPerSlice
  }

  /** A row raised again since it was read stays. */
  async #remove(keys: readonly Buffer[]): Promise<void> {
    await this.#environment.write(
      batch => {
        for (const key of keys) {
          const row = this.#environment.get('features', key)
          if (row !== undefined && expiryOf(row) <= this.#environment.clock()) batch.remove('features', key)
        }
      },
      { reclaims: true },
    )
  }
}

function requireKey(key: string): void {
  const bytes = Buffer.byteLength(key)
  if (bytes === 0 || bytes > maxRowKeyBytes)
    throw new FreshetError('record-too-large', `a feature key has ${bytes} bytes, allowed are 1 to ${maxRowKeyBytes}`)
}

/** Value and expiry time. */
const headBytes = 16

function encode({ value, expiresAtMs, parts = new Map() }: Feature): Buffer {
  const named = Array.from(parts, ([part, values]) => ({ name: Buffer.from(part), values }))
  const row = Buffer.allocUnsafe(
    named.reduce((bytes, { name, values }) => bytes + 2 + name.length + 8 * values.length, headBytes),
  )
  row.writeDoubleBE(value, 0)
  let at = row.writeDoubleBE(expiresAtMs, 8)
  for (const { name, values } of named) {
    at = row.writeUInt8(name.length, at)
    at += name.copy(row, at)
    at = row.writeUInt8(values.length, at)
    for (const number of values) at = row.writeDoubleBE(number, at)
  }
  return row
}

function partsOf(row: Buffer): Map<string, readonly number[]> {
  const parts = new Map<string, readonly number[]>()
  for (let at = headBytes; at < row.length; ) {
    const nameEnd = at + 1 + row.readUInt8(at)
    const name = row.toString('utf8', at + 1, nameEnd)
    const count = row.readUInt8(nameEnd)
    const values = Array.from({ length: count }, (_, n) => row.readDoubleBE(nameEnd + 1 + 8 * n))
    parts.set(name, values)
    at = nameEnd + 1 + 8 * count
  }
  return parts
}

function sumOf(parts: ReadonlyMap<string, readonly number[]> | undefined): readonly number[] | undefined {
  if (parts === undefined) return undefined
  const sums: number[] = []
  for (const values of parts.values()) for (const [at, value] of values.entries()) sums[at] = (sums[at] ?? 0) + value
  return sums
}

function expiryOf(row: Buffer): number {
  return row.readDoubleBE(8)
}
