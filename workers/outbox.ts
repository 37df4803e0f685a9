import type { WorkPriority } from '../schemas/embed-job.ts'
import type { Fingerprint } from '../schemas/ids.ts'
import type { IndexedImage } from '../schemas/image-analysis.ts'
import type { EventLog, NewRecord } from '../topologies/event-log.ts'
import type { ClaimedJob, WorkQueue } from '../topologies/work-queue.ts'
import type { EmbeddingCache } from './embedding-cache.ts'

export interface OutgoingResult {
  readonly claimed: ClaimedJob
  readonly records: readonly { readonly topic: string; readonly record: NewRecord }[]
  /** For the embedding cache. */
  readonly fresh: readonly { readonly image: IndexedImage; readonly fingerprint: Fingerprint }[]
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
  /** In the log, and their jobs completed or put back. */
  onSettled(results: readonly OutgoingResult[]): void
  /** None of these is known to be in the log; some may be. */
  onFailed(results: readonly OutgoingResult[], thrown: unknown): void
  /** In the log, but the queue still holds their jobs: those run again when their leases end. */
  onNotSettled(results: readonly OutgoingResult[], thrown: unknown): void
}

/**
 * Publishes results in batches: what becomes ready while a batch is being made durable is the next batch. A job is
 * completed only after its records are durable, in the same turn as the next batch begins, so that an embedded log and
 * queue write both in one transaction.
 */
export class Outbox {
  readonly #ports: OutboxPorts
  readonly #listener: OutboxListener
  #waiting: OutgoingResult[] = []
  #publishing = false

  constructor(ports: OutboxPorts, listener: OutboxListener) {
    this.#ports = ports
    this.#listener = listener
  }

  add(result: OutgoingResult): void {
    this.#waiting.push(result)
    if (this.#publishing) return
    this.#publishing = true
    // The rest of this turn may bring more.
    setImmediate(() => void this.#publishAll())
  }

  async #publishAll(): Promise<void> {
    while (this.#waiting.length > 0) {
      const batch = this.#waiting
      this.#waiting = []
      try {
        await this.#append(batch)
      } catch (thrown) {
        this.#listener.onFailed(batch, thrown)
        continue
      }
      void this.#settle(batch)
    }
    this.#publishing = false
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
    const fresh = batch.flatMap(result => result.fresh)
    const appends = Array.from(byTopic, ([topic, records]) => log.append(topic, records))
    await Promise.all([...appends, fresh.length > 0 ? cache.put(fresh) : undefined])
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
      this.#listener.onSettled(batch)
    } catch (thrown) {
      this.#listener.onNotSettled(batch, thrown)
    }
  }
}
