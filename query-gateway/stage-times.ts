import type { Meter } from '@opentelemetry/api'
import type { SearchAnswer } from '../schemas/http-search.ts'

/** What each stage of a query may take on production hardware, ms. Targets to be held against, not time limits. */
export interface StageBudget {
  readonly decode: number
  readonly detect: number
  readonly embed: number
  /** From the first request to a shard to the last answer that was waited for. */
  readonly shards: number
  readonly rank: number
}

export const defaultStageBudget: StageBudget = { decode: 15, detect: 20, embed: 10, shards: 30, rank: 15 }

type Timing = SearchAnswer['timingMs']

const stages = ['decode', 'detect', 'embed', 'shards', 'rank'] as const
const secondBounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.015, 0.02, 0.03, 0.05, 0.1, 0.25, 0.5, 1, 2.5]

/** Tells a meter how long the stages of queries take, and how often each is over its budget. In seconds. */
export class StageTimes {
  readonly #budget: StageBudget
  readonly #record: (stage: string, ms: number) => void
  readonly #over: (stage: string) => void

  constructor(meter: Meter, budget: StageBudget) {
    this.#budget = budget
    const duration = meter.createHistogram('freshet.search.stage.duration', {
      description: 'Stages of a query; those that it did not need are left out',
      unit: 's',
      advice: { explicitBucketBoundaries: secondBounds },
    })
    const over = meter.createCounter('freshet.search.stage.over_budget', {
      description: 'Queries of which the stage took longer than its budget',
    })
    this.#record = (stage, ms) => duration.record(ms / 1_000, { stage })
    this.#over = stage => over.add(1, { stage })
    meter
      .createObservableGauge('freshet.search.stage.budget', { description: 'What a stage may take', unit: 's' })
      .addCallback(result => {
        for (const stage of stages) result.observe(budget[stage] / 1_000, { stage })
      })
  }

  /** A stage of 0 ms did not take place: searches by item or vector look at no picture. */
  add(timing: Timing): void {
    const { decode, detect, embed, fanout, rank, total } = timing
    const times = { decode, detect, embed, shards: fanout, rank }
    for (const stage of stages) {
      const ms = times[stage]
      if (ms === 0) continue
      this.#record(stage, ms)
      if (ms > this.#budget[stage]) this.#over(stage)
    }
    this.#record('total', total)
  }
}
