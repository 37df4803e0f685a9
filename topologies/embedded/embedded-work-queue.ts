import { randomUUID } from 'node:crypto'
import type { WorkPriority } from '../../schemas/embed-job.ts'
import type { ClaimedJob, JobReturn, NewJob, QueueDepth, WorkQueue } from '../work-queue.ts'
import { DueHeap } from './due-heap.ts'
import type { EmbeddedEnvironment } from './environment.ts'
import {
  encodeJob,
  encodeJobState,
  jobKey,
  loadJobs,
  payloadOf,
  priorities,
  requireJobId,
  type StoredJob,
} from './job-rows.ts'
import { WaitingLine } from './waiting-line.ts'
import type { WriteBatch } from './write-batch.ts'

type JobState = 'adding' | 'waiting' | 'delayed' | 'claimed' | 'gone'
type Job = { -readonly [Field in keyof StoredJob]: StoredJob[Field] } & {
  state: JobState
  /** End of the lease of a claimed job. */
  leasedUntilMs: number
  token: string
}

/** Of twenty claims one is backfill, when there is any. */
const claimsPerBackfill = 20
/** Longer timers of Node fire at once. */
const maxTimerMs = 2 ** 31 - 1

/**
 * WorkQueue on the embedded environment. All but the payload is kept in memory; the rows are for the next open.
 *
 * A job: adding → (durable) waiting or delayed; delayed → (due) waiting; waiting → claimed; claimed → (complete) gone,
 * → (retry) waiting or delayed, → (lease over) waiting. Claims are not stored, attempts are: a job whose claimer's
 * process died is waiting after the next open, with its attempts counted.
 *
 * Changes of state happen while the environment puts a transaction together, in the order of the calls, and are
 * undone when it fails.
 */
export class EmbeddedWorkQueue implements WorkQueue {
  readonly system = 'lmdb'
  readonly #environment: EmbeddedEnvironment
  readonly #jobs = new Map<string, Job>()
  readonly #lines: Readonly<Record<WorkPriority, WaitingLine<Job>>> = {
    live: new WaitingLine(),
    standby: new WaitingLine(),
    backfill: new WaitingLine(),
  }
  /** Jobs that become waiting at a time. An entry whose job has moved on, or was renewed, means nothing. */
  readonly #due = new DueHeap<Job>()
  readonly #counts: Record<JobState, number> = { adding: 0, waiting: 0, delayed: 0, claimed: 0, gone: 0 }
  readonly #claimers = new Set<() => void>()
  /** Makes tokens of this opening differ from those of an earlier one. */
  readonly #opening = randomUUID()
  readonly #detach: () => Promise<void>
  #nextNumber = 1
  #nextToken = 0
  #claimsSinceBackfill = 0
  #isClosed = false

  constructor(environment: EmbeddedEnvironment) {
    this.#environment = environment
    this.#detach = environment.attach({ table: 'jobs' })
    for (const stored of loadJobs(environment)) {
      const job: Job = { ...stored, state: 'adding', leasedUntilMs: 0, token: '' }
      this.#nextNumber = Math.max(this.#nextNumber, job.number + 1, job.order + 1)
      this.#jobs.set(job.id, job)
      this.#counts.adding++
      this.#line(job)
    }
  }

  async add(jobs: readonly NewJob[]): Promise<void> {
    if (jobs.length === 0) return
    for (const { id } of jobs) requireJobId(id)
    await this.#environment.write(batch => {
      const now = this.#environment.clock()
      for (const job of jobs) if (!this.#jobs.has(job.id)) this.#stageNew(batch, job, now)
    })
  }

  async claim(max: number, leaseMs: number, waitMs: number): Promise<readonly ClaimedJob[]> {
    const deadline = performance.now() + waitMs
    while (!this.#isClosed) {
      if (this.#mayClaim()) {
        const claimed = await this.#environment.write(batch => this.#stageClaims(batch, max, leaseMs))
        if (claimed.length > 0) return claimed
      }
      const leftMs = deadline - performance.now()
      if (leftMs <= 0) break
      await this.#waitForJob(leftMs)
    }
    return []
  }

  async renew(jobs: readonly ClaimedJob[], leaseMs: number): Promise<readonly string[]> {
    this.#endWaits()
    const leasedUntilMs = this.#environment.clock() + leaseMs
    const lapsed: string[] = []
    for (const claimed of jobs) {
      const job = this.#held(claimed)
      if (job === undefined) lapsed.push(claimed.id)
      else this.#lease(job, leasedUntilMs)
    }
    return lapsed
  }

  async complete(jobs: readonly ClaimedJob[]): Promise<void> {
    if (jobs.length === 0) return
    await this.#environment.write(
      batch => {
        this.#endWaits()
        for (const claimed of jobs) {
          const job = this.#held(claimed)
          if (job !== undefined) this.#stageEnd(batch, job)
        }
      },
      { reclaims: true },
    )
  }

  async retry(claimed: ClaimedJob, options: JobReturn): Promise<void> {
    await this.#environment.write(batch => {
      this.#endWaits()
      const job = this.#held(claimed)
      if (job === undefined) return
      const before = { ...job }
      job.notBeforeMs = this.#environment.clock() + options.delayMs
      job.priority = options.priority
      if (options.isUntried) job.attempt--
      job.order = this.#nextNumber++
      batch.put('jobStates', jobKey(job.number), encodeJobState(job))
      this.#enter(job, 'adding')
      batch.onSettled(committed => {
        if (committed) this.#line(job)
        else this.#restoreClaim(job, before)
      })
    })
  }

  async known(ids: readonly string[]): Promise<ReadonlySet<string>> {
    return new Set(ids.filter(id => this.#jobs.has(id)))
  }

  async depth(): Promise<QueueDepth> {
    this.#endWaits()
    const { live, standby, backfill } = this.#lines
    return {
      waiting: { live: live.length, standby: standby.length, backfill: backfill.length },
      delayed: this.#counts.delayed,
      claimed: this.#counts.claimed,
    }
  }

  /** Ends waiting claims; the environment stays open. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#wakeClaimers()
    await this.#detach()
  }

  #stageNew(batch: WriteBatch, { id, priority, payload, delayMs }: NewJob, now: number): void {
    const number = this.#nextNumber++
    const row = { id, priority, addedAtMs: now, notBeforeMs: delayMs > 0 ? now + delayMs : 0 }
    const job: Job = { ...row, number, order: number, attempt: 0, state: 'adding', leasedUntilMs: 0, token: '' }
    batch.put('jobs', jobKey(number), encodeJob(row, payload))
    this.#jobs.set(id, job)
    this.#counts.adding++
    batch.onSettled(committed => {
      if (committed) this.#line(job)
      else this.#forget(job)
    })
  }

  #stageClaims(batch: WriteBatch, max: number, leaseMs: number): readonly ClaimedJob[] {
    this.#endWaits()
    const leasedUntilMs = this.#environment.clock() + leaseMs
    const claimed: ClaimedJob[] = []
    while (claimed.length < max) {
      const job = this.#nextInLine()
      if (job === undefined) break
      job.attempt++
      job.token = `${this.#opening}-${this.#nextToken++}`
      this.#enter(job, 'claimed')
      this.#lease(job, leasedUntilMs)
      batch.put('jobStates', jobKey(job.number), encodeJobState(job))
      claimed.push(this.#claimOf(job))
      batch.onSettled(committed => {
        if (!committed) this.#undoClaim(job)
      })
    }
    return claimed
  }

  #claimOf({ id, priority, attempt, addedAtMs, token, number }: Job): ClaimedJob {
    const payload = payloadOf(this.#environment.get('jobs', jobKey(number))!)
    return { id, priority, payload, attempt, addedAtMs, token }
  }

  #stageEnd(batch: WriteBatch, job: Job): void {
    const before = { ...job }
    batch.remove('jobs', jobKey(job.number))
    batch.remove('jobStates', jobKey(job.number))
    this.#forget(job)
    batch.onSettled(committed => {
      if (committed) return
      this.#jobs.set(job.id, job)
      this.#restoreClaim(job, before)
    })
  }

  #undoClaim(job: Job): void {
    job.attempt--
    if (job.state !== 'claimed') return
    this.#enter(job, 'waiting')
    this.#lines[job.priority].putBack(job)
    this.#wakeClaimers()
  }

  #restoreClaim(job: Job, before: Job): void {
    const { state } = job
    Object.assign(job, before, { state })
    this.#enter(job, 'claimed')
    this.#lease(job, before.leasedUntilMs)
  }

  #forget(job: Job): void {
    this.#enter(job, 'gone')
    this.#counts.gone--
    this.#jobs.delete(job.id)
  }

  /** Into its line, or to wait for its time. */
  #line(job: Job): void {
    if (job.notBeforeMs > this.#environment.clock()) {
      this.#enter(job, 'delayed')
      this.#due.push(job.notBeforeMs, job)
    } else {
      this.#enter(job, 'waiting')
      this.#lines[job.priority].push(job)
    }
    this.#wakeClaimers()
  }

  #lease(job: Job, leasedUntilMs: number): void {
    job.leasedUntilMs = leasedUntilMs
    this.#due.push(leasedUntilMs, job)
  }

  #enter(job: Job, state: JobState): void {
    this.#counts[job.state]--
    this.#counts[state]++
    job.state = state
  }

  /** Delays and leases that are over make their jobs waiting. */
  #endWaits(): void {
    const now = this.#environment.clock()
    for (let job = this.#due.take(now); job !== undefined; job = this.#due.take(now)) {
      const isOver =
        (job.state === 'delayed' && job.notBeforeMs <= now) || (job.state === 'claimed' && job.leasedUntilMs <= now)
      if (!isOver) continue
      job.token = ''
      this.#enter(job, 'waiting')
      this.#lines[job.priority].push(job)
      this.#wakeClaimers()
    }
  }

  /** The job while the claim holds. */
  #held(claimed: ClaimedJob): Job | undefined {
    const job = this.#jobs.get(claimed.id)
    return job?.state === 'claimed' && job.token === claimed.token ? job : undefined
  }

  #nextInLine(): Job | undefined {
    const { backfill } = this.#lines
    const isBackfillsTurn = backfill.length > 0 && this.#claimsSinceBackfill >= claimsPerBackfill - 1
    const priority = isBackfillsTurn ? 'backfill' : priorities.find(name => this.#lines[name].length > 0)
    if (priority === undefined) return undefined
    this.#claimsSinceBackfill = priority === 'backfill' ? 0 : this.#claimsSinceBackfill + 1
    return this.#lines[priority].take()
  }

  #mayClaim(): boolean {
    return this.#counts.waiting > 0 || this.#due.nextDueAtMs() <= this.#environment.clock()
  }

  #waitForJob(waitMs: number): Promise<void> {
    const untilDueMs = this.#due.nextDueAtMs() - this.#environment.clock()
    return new Promise(resolve => {
      const wake = () => {
        clearTimeout(timer)
        this.#claimers.delete(wake)
        resolve()
      }
      const timer = setTimeout(wake, Math.min(waitMs, Math.max(1, untilDueMs), maxTimerMs))
      this.#claimers.add(wake)
    })
  }

  #wakeClaimers(): void {
    for (const wake of this.#claimers) wake()
  }
}
