import { FreshetError } from '../../schemas/errors.ts'
import type { KeyValueStore, KeyValueWrite } from '../key-value-store.ts'
import type { EmbeddedEnvironment } from './environment.ts'

/** LMDB's limit of 1,978 bytes leaves this for the store's name beside a key of 1,900 bytes. */
const maxNameBytes = 64
const maxKeyBytes = 1900
/** Removed in one transaction, so that those of others wait for a moment only. */
const rowsPerRemoval = 500
const afterAllUtf8 = Buffer.from([0xff])

/**
 * Stores of different names do not see each other's keys. A row's key is the name, a zero byte, and the key in UTF-8.
 * @throws FreshetError `bad-request` for a name that is none
 */
export function openKeyValueStore(environment: EmbeddedEnvironment, name: string): KeyValueStore {
  if (!/^[A-Za-z0-9._-]+$/.test(name) || name.length > maxNameBytes)
    throw new FreshetError('bad-request', `a store name is 1 to ${maxNameBytes} of letters, digits, '.', '_' and '-'`)
  return new EmbeddedKeyValueStore(environment, Buffer.from(`${name}\0`))
}

class EmbeddedKeyValueStore implements KeyValueStore {
  readonly #environment: EmbeddedEnvironment
  readonly #prefix: Buffer

  constructor(environment: EmbeddedEnvironment, prefix: Buffer) {
    this.#environment = environment
    this.#prefix = prefix
  }

  get(key: string): Uint8Array | undefined {
    return this.#environment.get('keyValues', this.#rowKey(key))
  }

  async write(writes: readonly KeyValueWrite[]): Promise<void> {
    if (writes.length === 0) return
    const rows = writes.map(({ key, value }) => ({ key: this.#checkedRowKey(key), value: value && Buffer.from(value) }))
    await this.#environment.write(batch => {
      for (const { key, value } of rows) {
        if (value === null) batch.remove('keyValues', key)
        else batch.put('keyValues', key, value)
      }
    })
  }

  entries(
    prefix: string,
    options: { readonly after?: string; readonly limit?: number } = {},
  ): readonly { readonly key: string; readonly value: Uint8Array }[] {
    const first = this.#rowKey(prefix)
    const after = options.after === undefined ? first : this.#rowKey(options.after)
    const isAfterFirst = Buffer.compare(after, first) > 0
    const rows = this.#environment.range('keyValues', {
      start: isAfterFirst ? after : first,
      end: Buffer.concat([first, afterAllUtf8]),
      exclusiveStart: options.after !== undefined && Buffer.compare(after, first) >= 0,
      ...(options.limit === undefined ? {} : { limit: options.limit }),
    })
    return Array.from(rows, ({ key, value }) => ({ key: key.toString('utf8', this.#prefix.length), value }))
  }

  async clear(): Promise<void> {
    const range = { start: this.#prefix, end: Buffer.concat([this.#prefix, afterAllUtf8]), limit: rowsPerRemoval }
    for (;;) {
      const keys = Array.from(this.#environment.range('keyValues', range), ({ key }) => key)
      if (keys.length === 0) return
      await this.#environment.write(
        batch => {
          for (const key of keys) batch.remove('keyValues', key)
        },
        { reclaims: true },
      )
    }
  }

  /** The environment stays open. */
  async close(): Promise<void> {}

  #rowKey(key: string): Buffer {
    return Buffer.concat([this.#prefix, Buffer.from(key)])
  }

  #checkedRowKey(key: string): Buffer {
    const row = this.#rowKey(key)
    const bytes = row.length - this.#prefix.length
    if (bytes > maxKeyBytes)
      throw new FreshetError('record-too-large', `a key has ${bytes} bytes, the limit is ${maxKeyBytes}`)
    return row
  }
}
