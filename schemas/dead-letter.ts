import type { EmbedJob } from './embed-job.ts'
import type { ErrorCode } from './errors.ts'
import type { WorkStage } from './mutation.ts'

/** What could not be processed, with all that is needed to look at it and to try again. Topic `freshet.dead-letters`. */
export interface DeadLetter {
  readonly type: 'DeadLetter'
  readonly sourceTopic: string
  readonly sourcePartition: number
  readonly sourceOffset: number
  /** Empty when no generation is concerned (a record that could not be decoded). */
  readonly generation: string
  readonly stage: WorkStage
  readonly code: ErrorCode
  readonly message: string
  readonly attempts: number
  readonly failedAtMs: number
  readonly traceparent: string
  /** Key and value of the source record as they were; null where there was none. */
  readonly key: Uint8Array | null
  readonly value: Uint8Array | null
  /** The job, when image work failed: what redrive runs again, at its original version. */
  readonly job: EmbedJob | null
}

/** Id under which operators name a dead letter: partition and offset in the dead-letter topic. */
export function deadLetterId(partition: number, offset: number): string {
  return `${partition}-${offset}`
}
