/** `full`: what the goals are for. `quick`: shows that a bench works. `smoke`: every step once, for the tests. */
export interface KafkaBenchOptions {
  readonly length: 'full' | 'quick' | 'smoke'
}
