import { FreshetError } from '../../schemas/errors.ts'
import type { TableName } from './environment.ts'

/** The writes of one transaction while it is put together. */
export interface WriteBatch {
  /** Neither array may be changed afterwards. */
  put(table: TableName, key: Uint8Array, value: Uint8Array): void
  remove(table: TableName, key: Uint8Array): void
  /**
   * Called once the transaction is durable (`true`, in order) or has failed (`false`, in reverse order, to undo what
   * was changed in memory while staging), before the write's own promise settles.
   */
  onSettled(callback: (committed: boolean) => void): void
}

/** LMDB's bound at a page size of 4,096 bytes. */
export const maxRowKeyBytes = 1978

interface StagedOperation {
  readonly table: TableName
  readonly key: Uint8Array
  /** null removes the row. */
  readonly value: Uint8Array | null
}

export class StagedWrites implements WriteBatch {
  readonly operations: StagedOperation[] = []
  #bytes = 0
  readonly #callbacks: ((committed: boolean) => void)[] = []

  get bytes(): number {
    return this.#bytes
  }

  put(table: TableName, key: Uint8Array, value: Uint8Array): void {
    requireKeySize(key)
    this.operations.push({ table, key, value })
    this.#bytes += key.length + value.length
  }

  remove(table: TableName, key: Uint8Array): void {
    requireKeySize(key)
    this.operations.push({ table, key, value: null })
    this.#bytes += key.length
  }

  onSettled(callback: (committed: boolean) => void): void {
    this.#callbacks.push(callback)
  }

  settle(committed: boolean): void {
    const callbacks = committed ? this.#callbacks : this.#callbacks.toReversed()
    for (const callback of callbacks) callback(committed)
  }
}

/** Found while the batch is written, a key out of bounds would leave half of the batch in the transaction. */
function requireKeySize(key: Uint8Array): void {
  if (key.length === 0 || key.length > maxRowKeyBytes)
    throw new FreshetError('record-too-large', `a row key has ${key.length} bytes, allowed are 1 to ${maxRowKeyBytes}`)
}
