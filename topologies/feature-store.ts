/**
 * Small shared facts by key that may be lost at any time without harm: superseding hints now, engagement rates
 * later. One round trip per call.
 */
export interface FeatureStore {
  /** Sets each key to the larger of its value and the given one; forgotten after `ttlMs` without a raise. */
  raise(entries: readonly { readonly key: string; readonly value: number }[], ttlMs: number): Promise<void>
  /** Value per key, in order; undefined where there is none. */
  read(keys: readonly string[]): Promise<readonly (number | undefined)[]>
  close(): Promise<void>
}
