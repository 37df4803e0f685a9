import type { JobJson } from 'bullmq'
import type { WorkPriority } from '../../schemas/embed-job.ts'
import { FreshetError } from '../../schemas/errors.ts'
import type { ClaimedJob, NewJob } from '../work-queue.ts'
import type { JobTaken, JobToAdd } from './job-scripts.ts'

/*
 * A job of ours as BullMQ keeps it, in the hash <prefix>:<queue>:<BullMQ's id>:
 *
 * its id     `job-` and our id, percent-encoded. BullMQ's ids hold no colon and are not integers, and since a job's
 *            hash lies beside the queue's own keys (`wait`, `delayed`, …), no id may be the name of one.
 * name       our priority; as a number, which says the line, it is in `priority` and `opts`, which BullMQ reads.
 * data       the payload in base64, as a JSON string.
 * timestamp  when it was first added, by the adder's clock, in ms.
 * ats        its claims so far.
 */

/** BullMQ's priorities: 0 is the list `wait`, which goes before the sorted set `prioritized`, where 1 goes before 2. */
export const lineOf: Readonly<Record<WorkPriority, number>> = { live: 0, standby: 1, backfill: 2 }

const idPrefix = 'job-'
const priorities = ['live', 'standby', 'backfill'] as const satisfies readonly WorkPriority[]

/** @throws FreshetError `bad-request` when the id is not well-formed Unicode */
export function bullmqId(id: string): string {
  if (!id.isWellFormed()) throw new FreshetError('bad-request', 'a job id is not well-formed Unicode')
  return idPrefix + encodeURIComponent(id)
}

export function ownId(id: string): string {
  return decodeURIComponent(id.slice(idPrefix.length))
}

export function asToAdd({ id, priority, payload }: NewJob, addedAtMs: number): JobToAdd {
  return { bullmqId: bullmqId(id), line: lineOf[priority], name: priority, data: dataOf(payload), addedAtMs }
}

export function asDelayed(job: NewJob, addedAtMs: number): { readonly job: JobJson; readonly jobId: string } {
  const jobId = bullmqId(job.id)
  return {
    jobId,
    job: {
      id: jobId,
      name: job.priority,
      data: dataOf(job.payload),
      opts: { delay: job.delayMs, priority: lineOf[job.priority] },
      timestamp: addedAtMs,
      progress: 0,
      attemptsMade: 0,
      attemptsStarted: 0,
      stalledCounter: 0,
      failedReason: '',
      returnvalue: '',
    },
  }
}

/** The priority that a job's name says; undefined when another program put the job into the queue. */
export function priorityNamed(name: string | null | undefined): WorkPriority | undefined {
  return priorities.find(priority => priority === name)
}

/** Null when another program put the job into the queue. */
export function claimOf(job: JobTaken, token: string): ClaimedJob | null {
  const { bullmqId: id, name, data, addedAtMs, claims: attempt } = job
  const priority = priorityNamed(name)
  if (!id.startsWith(idPrefix) || priority === undefined) return null
  return { id: ownId(id), priority, payload: Buffer.from(data.slice(1, -1), 'base64'), attempt, addedAtMs, token }
}

function dataOf(payload: Uint8Array): string {
  return `"${Buffer.from(payload.buffer, payload.byteOffset, payload.byteLength).toString('base64')}"`
}
