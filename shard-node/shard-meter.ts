import { createNoopMeter, type Histogram, type Meter } from '@opentelemetry/api'
import type { Generation, ReplicaId, ShardId } from '../schemas/ids.ts'
import type { ShardSearchResult } from '../schemas/shard-api.ts'

const searchSeconds = [0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 1]
const applySeconds = [0.00005, 0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.05, 0.25]
const delaySeconds = [0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 60]

/** How long a replica takes to search and to apply what it reads. */
export class ShardMeter {
  readonly #labels: { readonly generation: string; readonly shard: string; readonly replica: string }
  readonly #search: Histogram
  readonly #apply: Histogram
  readonly #delay: Histogram

  constructor(
    of: { readonly generation: Generation; readonly shard: ShardId; readonly replica: ReplicaId },
    meter: Meter = createNoopMeter(),
  ) {
    this.#labels = { generation: of.generation, shard: String(of.shard), replica: of.replica }
    const histogram = (name: string, description: string, bounds: readonly number[]): Histogram =>
      meter.createHistogram(`freshet.replica.${name}`, {
        unit: 's',
        description,
        advice: { explicitBucketBoundaries: [...bounds] },
      })
    this.#search = histogram('search.duration', 'Time that searches took in the replica', searchSeconds)
    this.#apply = histogram('apply.duration', 'Time to apply a slice of mutations: searches see it after', applySeconds)
    this.#delay = histogram(
      'apply.delay',
      'Time from append to applied, of the newest mutation of a slice',
      delaySeconds,
    )
  }

  searched(tookMs: number, plan: ShardSearchResult['plan']): void {
    this.#search.record(tookMs / 1000, { ...this.#labels, plan })
  }

  /** `delayMs`: how old the slice's last record was when searches began to see it. */
  applied(tookMs: number, delayMs: number): void {
    this.#apply.record(tookMs / 1000, this.#labels)
    this.#delay.record(Math.max(0, delayMs) / 1000, this.#labels)
  }
}
