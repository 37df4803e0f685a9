import { setImmediate as nextTurn } from 'node:timers/promises'
import type { WorkPriority } from '../schemas/embed-job.ts'
import type { EventLog, NewRecord } from '../topologies/event-log.ts'
import type { ClaimedJob, WorkQueue } from '../topologies/work-queue.ts'
import type { EmbeddingCache, FreshImage } from './embedding-cache.ts'

export interface OutgoingResult {
  readonly claimed: ClaimedJob
  readonly records: readonly { readonly topic: string; readonly record: NewRecord }[]
  /** For the embedding cache. */
  readonly fresh: readonly FreshImage[]
  /** What becomes of the job once the records are durable. */
  readonly jobEnd: JobEnd
}

export type JobEnd =
  | { readonly type: 'complete' }
  | { readonly type: 'retry'; readonly delayMs: number; readonly priority: WorkPriority }

export interface OutboxPorts {
  readonly log: EventLog
  readonly queue: WorkQueue
  readonly cache: EmbeddingCache
}

export interface OutboxListener {
  /** In the log; their jobs are completed or put back soon. */
  onDurable(results: readonly OutgoingResult[]): void
  /** None of these is known to be in the log; some may be. */
  onFailed(results: readonly OutgoingResult[], thrown: unknown): void
  /** In the log, but the queue still holds their jobs: those run again when their leases end. */
  onNotSettled(results: readonly OutgoingResult[], thrown: unknown): void
}

/** Far shorter than a lease; long enough that a job's end mostly shares the transaction of the next results. */
const settleAfterMs = 50

/**
 * Publishes results in batches: what becomes ready while a batch is being made durable is the next batch. A job ends
 * only after its records are durable, in the same turn as the next batch begins, so that an embedded log and queue
 * write both in one transaction; or a moment later, when no next batch comes.
 */
export class Outbox {
  readonly #ports: OutboxPorts
  readonly #listener: OutboxListener
  #waiting: OutgoingResult[] = []
  /** Durable, with jobs that have not ended yet. */
  #unsettled: OutgoingResult[] = []
  #publishing: Promise<void> | null = null
  #settling: Promise<void> = Promise.resolve()
  #timer: NodeJS.Timeout | null = null

  constructor(ports: OutboxPorts, listener: OutboxListener) {
    this.#ports = ports
    this.#listener = listener
  }

  add(result: OutgoingResult): void {
    this.#waiting.push(result)
    this.#publishing ??= this.#publishAll()
  }

  /** Resolves when everything added is durable, or failed, and the jobs of what is durable have ended. */
  async flush(): Promise<void> {
    while (this.#publishing !== null) await this.#publishing
    this.#beginSettling()
    await this.#settling
  }

  async #publishAll(): Promise<void> {
    // The rest of this turn may bring more.
    await nextTurn()
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      this.#beginSettling()
      try {
        await this.#append(batch)
      } catch (thrown) {
        this.#listener.onFailed(batch, thrown)
        continue
      }
      this.#unsettled.push(...batch)
      this.#listener.onDurable(batch)
    }
    this.#publishing = null
    this.#timer ??= setTimeout(() => this.#beginSettling(), settleAfterMs)
  }

  #beginSettling(): void {
    if (this.#timer) clearTimeout(this.#timer)
    this.#timer = null
    const batch = this.#unsettled
    this.#unsettled = []
    if (batch.length === 0) return
    const settled = this.#settle(batch)
    this.#settling = Promise.all([this.#settling, settled]).then(() => {})
  }

  async #append(batch: readonly OutgoingResult[]): Promise<void> {
    const { log, cache } = this.#ports
    const byTopic = new Map<string, NewRecord[]>()
    for (const { records } of batch)
      for (const { topic, record } of records) {
        const ofTopic = byTopic.get(topic)
        if (ofTopic) ofTopic.push(record)
        else byTopic.set(topic, [record])
      }
    cache.keep(batch.flatMap(({ fresh }) => fresh))
    await Promise.all(Array.from(byTopic, ([topic, records]) => log.append(topic, records)))
  }

  async #settle(batch: readonly OutgoingResult[]): Promise<void> {
    const { queue } = this.#ports
    const completed: ClaimedJob[] = []
    const retries: Promise<void>[] = []
    for (const { claimed, jobEnd } of batch)
      if (jobEnd.type === 'complete') completed.push(claimed)
      else retries.push(queue.retry(claimed, jobEnd))
    try {
      await Promise.all([...retries, completed.length > 0 ? queue.complete(completed) : undefined])
    } catch (thrown) {
      this.#listener.onNotSettled(batch, thrown)
    }
  }
}
