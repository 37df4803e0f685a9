/** What one writer knows of a key: see `FeatureStore.putParts`. */
export interface FeaturePart {
  readonly key: string
  /** Who writes it, such as the partition it was counted from: 1 to 64 characters. */
  readonly part: string
  /** 1 to 16 finite numbers, as many as the other parts of the key have. */
  readonly values: readonly number[]
}

/**
 * Small shared facts by key that may be lost at any time without harm: superseding hints and engagement rates. One
 * round trip per call. A key is written by `raise` or by `putParts`, never by both.
 * Errors: `feature-store-unavailable`, `access-denied`; `record-too-large` for a key over its bound; embedded: storage
 * codes. The caller goes on without.
 */
export interface FeatureStore {
  /** Sets each key to the larger of its value and the given one; forgotten after `ttlMs` without a raise. */
  raise(entries: readonly { readonly key: string; readonly value: number }[], ttlMs: number): Promise<void>
  /** Value per key, in order; undefined where there is none. */
  read(keys: readonly string[]): Promise<readonly (number | undefined)[]>
  /**
   * Sets a part of each key to what is given, whatever it was, so that a repetition changes nothing; a key is forgotten
   * after `ttlMs` without a write to any of its parts.
   */
  putParts(parts: readonly FeaturePart[], ttlMs: number): Promise<void>
  /** Per key the sum of its parts, number by number, in order; undefined where there is none. */
  readSums(keys: readonly string[]): Promise<readonly (readonly number[] | undefined)[]>
  close(): Promise<void>
}
