import { createNoopMeter, type Histogram, type Meter } from '@opentelemetry/api'
import type { StepTime } from '../schemas/image-analysis.ts'

const bounds = [0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30]

/** `model`: the whole call, with its waiting; the steps are within it. `job`: from its claim until its result is durable. */
export type MeteredStage = 'fetch' | 'model' | StepTime['name'] | 'job'

/** How long the stages of image work take. */
export class WorkMeter {
  readonly #stages: Histogram

  constructor(meter: Meter = createNoopMeter()) {
    this.#stages = meter.createHistogram('freshet.work.stage.duration', {
      unit: 's',
      description: 'Time that each stage of image work took, by picture; of a job: from claim to durable result',
      advice: { explicitBucketBoundaries: bounds },
    })
  }

  took(stage: MeteredStage, ms: number): void {
    this.#stages.record(Math.max(0, ms) / 1000, { stage })
  }

  /** By picture: steps that came several times are one time. */
  tookSteps(steps: readonly StepTime[]): void {
    const sums = new Map<StepTime['name'], number>()
    for (const { name, tookMs } of steps) sums.set(name, (sums.get(name) ?? 0) + tookMs)
    for (const [name, tookMs] of sums) this.took(name, tookMs)
  }
}
