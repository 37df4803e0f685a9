import type { WorkPriority } from '../../schemas/embed-job.ts'
import type { DispatchState } from './dispatch-state.ts'

/** How fast a dispatcher goes on; changes while it runs. */
export interface DispatchPace {
  /** Of work that is not backfill: `standby` while the generation has no queries. */
  readonly priority: Exclude<WorkPriority, 'backfill'>
  /** Nothing more of the catalog is read; what waits already is finished. */
  readonly isPaused: boolean
  /** At most so many images of the backfill a second, in the mean; null: no bound. */
  readonly imagesPerSecond: number | null
  /** Events that may wait for image work, so that a pause is felt soon; null: the bound of the settings. */
  readonly imageRecords: number | null
}

/** A rate is kept by an allowance that grows with time and shrinks with each image; below nothing, reading waits. */
export interface PaceState {
  pace: DispatchPace
  /** Images that may be issued now; below 0 after a batch that held more. */
  allowance: number
  refilledAtMs: number
}

export function newPaceState(priority: DispatchPace['priority']): PaceState {
  return {
    pace: { priority, isPaused: false, imagesPerSecond: null, imageRecords: null },
    allowance: 0,
    refilledAtMs: 0,
  }
}

export function setPace({ pacing, nowMs }: DispatchState, pace: DispatchPace): void {
  // Of what was saved up at another rate nothing is left.
  if (pace.imagesPerSecond !== pacing.pace.imagesPerSecond) pacing.allowance = Math.min(pacing.allowance, 0)
  pacing.pace = pace
  pacing.refilledAtMs = nowMs
}

/** At most a second's worth is saved up. */
export function refillAllowance({ pacing, nowMs }: DispatchState): void {
  const { imagesPerSecond } = pacing.pace
  if (imagesPerSecond !== null) {
    const grown = ((nowMs - pacing.refilledAtMs) / 1_000) * imagesPerSecond
    pacing.allowance = Math.min(imagesPerSecond, pacing.allowance + grown)
  }
  pacing.refilledAtMs = nowMs
}

export function spendAllowance({ pacing }: DispatchState, priority: WorkPriority, images: number): void {
  if (priority === 'backfill' && pacing.pace.imagesPerSecond !== null) pacing.allowance -= images
}

/** Whether reading has to wait, whatever is in hand. */
export function isHeldByPace({ pacing }: DispatchState): boolean {
  const { isPaused, imagesPerSecond } = pacing.pace
  return isPaused || (imagesPerSecond !== null && pacing.allowance < 0)
}
