import type { IndexTuning } from '../segments/index-tuning.ts'
import { standardTuning } from '../segments/index-tuning.ts'
import { RecallController, type RecallSample, type RecallSettings, type RecallStatus } from './recall-controller.ts'

/** What the controller acts on. */
export interface SteeredIndex {
  setEffort(effort: number): void
  compact(): Promise<void>
}

/** Connects the controller with the index of a running shard. */
export class LiveRecall {
  /** For the index to ask and to tell. */
  readonly hooks: { readonly shouldAudit: () => boolean; readonly onAudit: (sample: RecallSample) => void }
  readonly #controller: RecallController
  #index: SteeredIndex | null = null

  constructor(
    settings: RecallSettings,
    { index, clock }: { readonly index: Partial<IndexTuning>; readonly clock: () => number },
  ) {
    const effort = index.effort ?? standardTuning.effort
    this.#controller = new RecallController(settings, { effort, nowMs: clock() })
    this.hooks = {
      shouldAudit: () => this.#controller.shouldAudit(clock()),
      onAudit: sample => this.#sampled(sample),
    }
  }

  /** From now on the advice is acted on. */
  steer(index: SteeredIndex): void {
    this.#index = index
    index.setEffort(this.#controller.status().effort)
  }

  status(): RecallStatus {
    return this.#controller.status()
  }

  #sampled(sample: RecallSample): void {
    const advice = this.#controller.sampled(sample)
    if (advice === null || this.#index === null) return
    switch (advice.type) {
      case 'effort':
        this.#index.setEffort(advice.effort)
        break
      case 'compact':
        void this.#index.compact()
        break
    }
  }
}
