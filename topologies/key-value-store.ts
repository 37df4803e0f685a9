export type KeyValueWrite =
  | { readonly key: string; readonly value: Uint8Array }
  | { readonly key: string; readonly value: null }

/**
 * Durable state local to one process: item tables, embedding cache, bookkeeping. Reads are synchronous, because the
 * store is a memory map in both forms. Keys are UTF-8 up to 1,900 bytes, ordered by their bytes.
 */
export interface KeyValueStore {
  get(key: string): Uint8Array | undefined
  /** Writes in order, all or none; durable when resolved. */
  write(writes: readonly KeyValueWrite[]): Promise<void>
  /** Keys that begin with `prefix`, in order of bytes, from `after` (exclusive), at most `limit`. */
  entries(
    prefix: string,
    options?: { readonly after?: string; readonly limit?: number },
  ): readonly { readonly key: string; readonly value: Uint8Array }[]
  /** Removes everything, a part at a time: one that was cut short is called again. */
  clear(): Promise<void>
  close(): Promise<void>
}
