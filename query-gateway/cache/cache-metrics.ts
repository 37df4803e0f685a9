import type { Meter } from '@opentelemetry/api'

/** `hit`: it was there; `shared`: somebody was about to find out; `miss`: it was computed; `unkept`: no cache applies. */
export type CacheOutcome = 'hit' | 'shared' | 'miss' | 'unkept'

/** Counts what becomes of the look-ups of one cache. The hit rate is the share of `hit` and `shared`. */
export function countOutcomes(
  meter: Meter,
  cache: string,
  size: () => { readonly entries: number; readonly bytes: number },
): (outcome: CacheOutcome) => void {
  const lookups = meter.createCounter('freshet.cache.lookups', {
    description: 'Look-ups of what was computed before, by cache and outcome: hit, shared, miss, unkept.',
  })
  meter
    .createObservableGauge('freshet.cache.size', { unit: 'By', description: 'Estimated bytes that a cache holds.' })
    .addCallback(result => result.observe(size().bytes, { cache }))
  meter
    .createObservableGauge('freshet.cache.entries', { description: 'Entries that a cache holds.' })
    .addCallback(result => result.observe(size().entries, { cache }))
  return outcome => lookups.add(1, { cache, outcome })
}
