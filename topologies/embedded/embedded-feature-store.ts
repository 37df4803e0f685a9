import { FreshetError } from '../../schemas/errors.ts'
import type { FeatureStore } from '../feature-store.ts'
import type { EmbeddedEnvironment, Upkeep } from './environment.ts'
import { maxRowKeyBytes, type WriteBatch } from './write-batch.ts'

interface Feature {
  readonly value: number
  readonly expiresAtMs: number
}

const rowsPerSlice = 512
const sweepIntervalMs = 600_000
const firstKey = Buffer.from([0])
const afterAllUtf8 = Buffer.from([0xff])

/** FeatureStore on the embedded environment. A row is the key in UTF-8 · value f64 · expiry time in ms f64. */
export class EmbeddedFeatureStore implements FeatureStore {
  readonly #environment: EmbeddedEnvironment
  readonly #detach: () => Promise<void>
  /** What the transaction being put together has raised so far; reads see committed rows only. */
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
    return { value: row.readDoubleBE(0), expiresAtMs: expiryOf(row) }
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

function encode(feature: Feature): Buffer {
  const row = Buffer.allocUnsafe(16)
  row.writeDoubleBE(feature.value, 0)
  row.writeDoubleBE(feature.expiresAtMs, 8)
  return row
}

function expiryOf(row: Buffer): number {
  return row.readDoubleBE(8)
}
