import type { WorkPriority } from '../schemas/embed-job.ts'

export interface NewJob {
  /** Adding an id that is waiting, delayed or claimed is a no-op; after `complete` the same id runs again. */
  readonly id: string
  readonly priority: WorkPriority
  readonly payload: Uint8Array
  /** Not before so many ms from now; 0 at once. */
  readonly delayMs: number
}

export interface ClaimedJob {
  readonly id: string
  readonly priority: WorkPriority
  readonly payload: Uint8Array
  /** 1 on the first claim; counts claims, also those whose claimer died. */
  readonly attempt: number
  /** When the job was first added. */
  readonly addedAtMs: number
  /** Proves the claim; a lapsed claim's calls are ignored. */
  readonly token: string
}

/** How a claimed job goes back. */
export interface JobReturn {
  readonly delayMs: number
  readonly priority: WorkPriority
  /** The claim does not count as an attempt: nothing was tried. By default it does. */
  readonly isUntried?: boolean
}

export interface QueueDepth {
  readonly waiting: Readonly<Record<WorkPriority, number>>
  readonly delayed: number
  readonly claimed: number
}

/**
 * Durable work between dispatcher and workers. It may lose everything (a flushed Redis) or run a job twice: the
 * mutation log alone says what is done, and the dispatcher's sweep adds what is overdue again.
 * Order: live before standby before backfill, first in first out within each; backfill keeps at least 5% of claims.
 */
export interface WorkQueue {
  /** What traces call it (`messaging.system`); `bullmq` where nothing is said. */
  readonly system?: string
  add(jobs: readonly NewJob[]): Promise<void>
  /** Up to `max` jobs, each leased for `leaseMs`; waits up to `waitMs` for the first. An expired lease makes the job waiting again. */
  claim(max: number, leaseMs: number, waitMs: number): Promise<readonly ClaimedJob[]>
  /** Extends leases. Returns the ids whose claim has lapsed. */
  renew(jobs: readonly ClaimedJob[], leaseMs: number): Promise<readonly string[]>
  complete(jobs: readonly ClaimedJob[]): Promise<void>
  /** Puts a claimed job back. */
  retry(job: ClaimedJob, how: JobReturn): Promise<void>
  /** Ids of the given that the queue knows (waiting, delayed or claimed). */
  known(ids: readonly string[]): Promise<ReadonlySet<string>>
  depth(): Promise<QueueDepth>
  close(): Promise<void>
}
