import { randomUUID } from 'node:crypto'
import { setTimeout as delay } from 'node:timers/promises'
import { RedisConnection as BullmqConnection, ErrorCode, QueueKeys, RedisQueueBackend } from 'bullmq'
import type { WorkPriority } from '../../schemas/embed-job.ts'
import { type RedisAddress, type RedisClient, RedisConnection } from '../redis/redis-connection.ts'
import type { ClaimedJob, JobReturn, NewJob, QueueDepth, WorkQueue } from '../work-queue.ts'
import { BackfillShare, claimsPerBackfill } from './backfill-share.ts'
import { asDelayed, asToAdd, bullmqId, claimOf, lineOf, ownId, priorityNamed } from './job-form.ts'
import { JobScripts } from './job-scripts.ts'
import { MemoryReserve } from './memory-reserve.ts'

export interface BullmqWorkQueueOptions {
  readonly redis: RedisAddress
  /** Before every key of the queue. Installations that share a Redis differ in it or in the name. Default `freshet`. */
  readonly prefix?: string
  /** Without a colon. Default `work`. */
  readonly queueName?: string
  /** How often those who claim look for leases that are over, between them. Default 500. */
  readonly leaseCheckMs?: number
}

/** Redis before 7.0.8 takes 1 ms for none at all, which is for ever. */
const shortestBlockMs = 2

interface Fetched {
  readonly claimed: readonly ClaimedJob[]
  /** When the first delayed job is due, by the clock of this machine; null when none is known. */
  readonly nextDueAtMs: number | null
}

/**
 * WorkQueue on BullMQ: one queue of BullMQ for all priorities (ops/decisions/0010). What happens to every job is done
 * by scripts of ours that take many at once (`JobScripts`), all else by those of BullMQ; its own Worker takes one job at
 * a time.
 *
 * A job: waiting in the line of its priority, or delayed; → (claim) active, with a lock that lasts for the lease;
 * → (complete) gone, → (retry) waiting or delayed, → (lock gone) waiting, at the end of its line.
 *
 * Errors of all calls: FreshetError `queue-unavailable` | `access-denied`. A claim whose answer is lost holds its jobs
 * until the end of the lease.
 */
export class BullmqWorkQueue implements WorkQueue {
  readonly #commands: RedisConnection
  /** For the one command that blocks; all others would wait behind it. */
  readonly #blocking: RedisConnection
  readonly #connection: BullmqConnection
  readonly #options: Required<Omit<BullmqWorkQueueOptions, 'redis'>>
  /** BullMQ's scripts. */
  readonly #backend: RedisQueueBackend
  readonly #scripts: JobScripts
  readonly #memory: MemoryReserve
  readonly #backfill = new BackfillShare()
  /** The wait that is going on, shared by all claims that wait. */
  #wait: Promise<void> | null = null
  #leaseCheckDueMs = 0
  #isClosed = false

  /** Connects in the background; calls made meanwhile wait for it. */
  constructor({ redis, prefix = 'freshet', queueName = 'work', leaseCheckMs = 500 }: BullmqWorkQueueOptions) {
    this.#options = { prefix, queueName, leaseCheckMs }
    this.#commands = new RedisConnection(redis, { unavailable: 'queue-unavailable' })
    this.#memory = new MemoryReserve(this.#commands)
    this.#blocking = new RedisConnection(redis, { unavailable: 'queue-unavailable' })
    this.#connection = new BullmqConnection(this.#commands.client, {
      shared: true,
      blocking: false,
      // Nothing of it waits for Redis: when it is ready our connection knows.
      skipVersionCheck: true,
      skipWaitingForReady: true,
    })
    // Our connection notes them; an event of that name which nobody hears would end the process.
    this.#connection.on('error', () => {})
    const keys = new QueueKeys(prefix)
    this.#backend = this.#openBackend(keys)
    this.#scripts = new JobScripts(keys.getKeys(queueName))
  }

  async add(jobs: readonly NewJob[]): Promise<void> {
    if (jobs.length === 0) return
    await this.#memory.require(jobs.reduce((bytes, { payload }) => bytes + payload.length, 0))
    const now = Date.now()
    const delayed = jobs.filter(({ delayMs }) => delayMs > 0).map(job => asDelayed(job, now))
    const others = jobs.filter(({ delayMs }) => delayMs <= 0).map(job => asToAdd(job, now))
    await this.#commands.run(redis =>
      all<unknown>([delayed.length > 0 ? this.#backend.addJobs(delayed) : noCall, this.#scripts.add(redis, others)]),
    )
  }

  async claim(max: number, leaseMs: number, waitMs: number): Promise<readonly ClaimedJob[]> {
    const deadlineMs = performance.now() + waitMs
    while (!this.#isClosed) {
      try {
        await this.#endLeases()
        const { claimed, nextDueAtMs } = await this.#commands.run(redis => this.#fetch(redis, max, leaseMs))
        if (claimed.length > 0) return claimed
        const leftMs = deadlineMs - performance.now()
        if (leftMs <= 0) break
        const untilDueMs = nextDueAtMs === null ? leftMs : nextDueAtMs - Date.now()
        await this.#waitForJob(Math.min(leftMs, untilDueMs, this.#options.leaseCheckMs))
      } catch (thrown) {
        if (!this.#isClosed) throw thrown
      }
    }
    return []
  }

  async renew(jobs: readonly ClaimedJob[], leaseMs: number): Promise<readonly string[]> {
    if (jobs.length === 0) return []
    const ids = jobs.map(({ id }) => bullmqId(id))
    const tokens = jobs.map(({ token }) => token)
    const lapsed = await this.#commands.run(() => this.#backend.extendLocks(ids, tokens, leaseMs))
    return lapsed.map(ownId)
  }

  async complete(jobs: readonly ClaimedJob[]): Promise<void> {
    if (jobs.length === 0) return
    const ended = jobs.map(({ id, token }) => ({ bullmqId: bullmqId(id), token }))
    await this.#commands.run(redis => this.#scripts.end(redis, ended))
  }

  async retry({ id, token, attempt }: ClaimedJob, { delayMs, priority, isUntried = false }: JobReturn): Promise<void> {
    const fieldsToUpdate = { name: priority, priority: lineOf[priority], ...(isUntried ? { ats: attempt - 1 } : {}) }
    await this.#commands.run(() =>
      unlessLapsed(
        delayMs > 0
          ? this.#backend.moveToDelayed(bullmqId(id), Date.now(), delayMs, token, { skipAttempt: true, fieldsToUpdate })
          : this.#backend.retryJob(bullmqId(id), false, token, { fieldsToUpdate }),
      ),
    )
  }

  /** A job's hash exists exactly as long as the job does. */
  async known(ids: readonly string[]): Promise<ReadonlySet<string>> {
    const found = await this.#commands.run(redis => all(ids.map(id => redis.exists(this.#backend.toKey(bullmqId(id))))))
    return new Set(ids.filter((_, i) => found[i] === 1))
  }

  /** A delayed job whose time has come counts as delayed until somebody claims. */
  async depth(): Promise<QueueDepth> {
    const [waiting, [delayed = 0, claimed = 0]] = await this.#commands.run(() =>
      Promise.all([this.#waiting(), this.#backend.getCounts(['delayed', 'active'])]),
    )
    return { waiting, delayed, claimed }
  }

  /** Ends waiting claims. */
  async close(): Promise<void> {
    this.#isClosed = true
    this.#blocking.close()
    this.#commands.close()
  }

  #openBackend(keys: QueueKeys): RedisQueueBackend {
    const { prefix, queueName, leaseCheckMs } = this.#options
    const options = {
      connection: this.#commands.client,
      prefix,
      // For so long nobody else looks; shorter than the time until the one who did looks again.
      stalledInterval: Math.ceil(leaseCheckMs / 2),
      // BullMQ would mark a job as failed whose claimers died more often than this.
      maxStalledCount: Number.MAX_SAFE_INTEGER,
    }
    const toKey = (type: string) => keys.toKey(queueName, type)
    return new RedisQueueBackend(this.#connection, queueName, keys.getKeys(queueName), toKey, options, undefined, false)
  }

  async #waiting(): Promise<Record<WorkPriority, number>> {
    const [live = 0, standby = 0, backfill = 0] = await this.#backend.getCountsPerPriority(Object.values(lineOf))
    return { live, standby, backfill }
  }

  /**
   * Jobs whose lock is gone wait again, at the end of their lines, so that one which kills its claimers does not keep
   * the others from being claimed. BullMQ itself puts them before all others, whatever their priority.
   */
  async #endLeases(): Promise<void> {
    if (performance.now() < this.#leaseCheckDueMs) return
    this.#leaseCheckDueMs = performance.now() + this.#options.leaseCheckMs
    await this.#commands.run(async redis => {
      const ids = await this.#backend.moveStalledJobsToWait()
      const names = await all(ids.map(id => redis.hget(this.#backend.toKey(id), 'name')))
      await all(ids.map((id, i) => this.#putInLine(id, lineOf[priorityNamed(names[i]) ?? 'backfill'])))
    })
  }

  async #fetch(redis: RedisClient, max: number, leaseMs: number): Promise<Fetched> {
    const token = randomUUID()
    const { sinceTurn } = this.#backfill
    const turns = { sinceTurn, perTurn: claimsPerBackfill }
    const { jobs, nextDueAtMs } = await this.#scripts.take(redis, { max, leaseMs, token, nowMs: Date.now(), ...turns })
    const claimed = jobs.flatMap(job => claimOf(job, token) ?? [])
    this.#backfill.note(claimed.length, claimed.filter(({ priority }) => priority === 'backfill').length)
    if (claimed.length < jobs.length) {
      const foreign = jobs.filter(job => claimOf(job, token) === null)
      await this.#scripts.end(
        redis,
        foreign.map(({ bullmqId: id }) => ({ bullmqId: id, token })),
      )
    }
    return { claimed, nextDueAtMs }
  }

  /** Into a line, at its end. Does nothing to a job that was claimed meanwhile. */
  #putInLine(bullmqJobId: string, line: number): Promise<void> {
    return unlessLapsed(this.#backend.changePriority(bullmqJobId, line, false))
  }

  /** Until there may be a job, so long at most. One connection serves one such command at a time: they share it. */
  async #waitForJob(waitMs: number): Promise<void> {
    const isShared = this.#wait !== null
    this.#wait ??= this.#popMarker(Math.max(waitMs, shortestBlockMs)).finally(() => {
      this.#wait = null
    })
    await (isShared ? Promise.race([this.#wait, delay(waitMs, undefined, { ref: false })]) : this.#wait)
  }

  /** BullMQ leaves a marker where a job came or a delayed one is the next; what it says, the next fetch finds out. */
  async #popMarker(waitMs: number): Promise<void> {
    await this.#blocking.run(redis => redis.bzpopmin(this.#backend.toKey('marker'), waitMs / 1_000))
  }
}

const noCall = Promise.resolve()

/** What BullMQ answers for a job that is gone, or that another claim holds. */
const lapsedCodes: ReadonlySet<unknown> = new Set([
  ErrorCode.JobNotExist,
  ErrorCode.JobLockNotExist,
  ErrorCode.JobLockMismatch,
  ErrorCode.JobNotInState,
])

async function unlessLapsed(call: Promise<unknown>): Promise<void> {
  await call.catch((thrown: { readonly code?: unknown }) => {
    if (!lapsedCodes.has(thrown.code)) throw thrown
  })
}

/** Ends when all have ended, so that nothing goes on behind the caller's back. @throws the first failure */
async function all<T>(calls: readonly Promise<T>[]): Promise<T[]> {
  await Promise.allSettled(calls)
  return Promise.all(calls)
}
