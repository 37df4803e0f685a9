import { imagesOfIdentity } from '../../schemas/catalog-event.ts'
import { type EmbedJob, jobIdOf } from '../../schemas/embed-job.ts'
import { type PartitionState, priorityOf, type StepInProgress } from './dispatch-state.ts'
import type { ImagePart } from './item-entry.ts'
import { spendAllowance } from './pace.ts'
import type { Waiting } from './window.ts'

export interface ImageEvent {
  /** Waits for image work of its own. */
  readonly waiting: Waiting
  /** Of the item's entry; introduced by this event. */
  readonly image: ImagePart
}

/** Enqueues the event's job, as often as needed: the queue ignores an id it knows. */
export function issueJob(step: StepInProgress, partition: PartitionState, event: ImageEvent, idSuffix = ''): void {
  const { state, effects } = step
  const job = jobOf(step, partition, event)
  const priority = priorityOf(state, { partition: job.partition, offset: job.version.offset })
  spendAllowance(state, priority, job.images.length)
  effects.jobs.push({ id: jobIdOf(job) + idSuffix, priority, job })
  state.counts.jobs++
  if (event.waiting.image) event.waiting.image.enqueuedAtMs = state.nowMs
}

export function jobOf({ state }: StepInProgress, { partition }: PartitionState, event: ImageEvent): EmbedJob {
  const { waiting, image } = event
  const { generation, acceptance } = state.settings
  const { traceparent = '', tracestate } = waiting.image ?? {}
  return {
    generation,
    itemId: waiting.itemId,
    partition,
    version: { epoch: acceptance.topicEpoch, offset: waiting.offset },
    imageIdentity: image.identity,
    images: imagesOfIdentity(image.identity),
    refresh: waiting.image?.refresh ?? false,
    acceptedAtMs: waiting.appendTimeMs,
    pendingSinceMs: image.pendingSinceMs,
    traceparent,
    ...(tracestate === undefined ? {} : { tracestate }),
  }
}
