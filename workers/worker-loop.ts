import { setTimeout as delay, setImmediate as nextTurn } from 'node:timers/promises'
import type { Meter } from '@opentelemetry/api'
import type { DeadLetter } from '../schemas/dead-letter.ts'
import { decodeJob, type EmbedJob, supersedeHintKey } from '../schemas/embed-job.ts'
import { asFreshetError, type FreshetError } from '../schemas/errors.ts'
import type { Generation } from '../schemas/ids.ts'
import type { ImageModel } from '../schemas/image-analysis.ts'
import { type Mutation, mutationKey, type WorkFailed, type WorkStage } from '../schemas/mutation.ts'
import type { RecordCodec } from '../schemas/record-codec.ts'
import { catalogTopic, deadLetterTopic, mutationTopic } from '../schemas/topics.ts'
import { noTrace, type TraceHeaders, traceOf } from '../schemas/trace-context.ts'
import type { EventLog } from '../topologies/event-log.ts'
import type { FeatureStore } from '../topologies/feature-store.ts'
import type { ClaimedJob, JobReturn, WorkQueue } from '../topologies/work-queue.ts'
import type { BlobStore } from './blob-store.ts'
import type { EmbeddingCache } from './embedding-cache.ts'
import type { ImageSource } from './image-source.ts'
import { ImageWorkError, ItemObjects } from './item-objects.ts'
import { JobTrace } from './job-trace.ts'
import { Outbox, type OutgoingResult } from './outbox.ts'
import { RetrySchedule } from './retry-schedule.ts'
import { WorkMeter } from './work-meter.ts'

export interface WorkerPorts {
  readonly queue: WorkQueue
  readonly log: EventLog
  readonly features: FeatureStore
  readonly images: Pick<ImageSource, 'resolve'>
  readonly blobs: Pick<BlobStore, 'path'>
  readonly cache: EmbeddingCache
  readonly codecs: { readonly mutations: RecordCodec<Mutation>; readonly deadLetters: RecordCodec<DeadLetter> }
  /** The model of a generation not retired; undefined while this process does not hold it. */
  readonly modelOf: (generation: Generation) => ImageModel | undefined
  /** Nobody wants results of it any more. By default all generations are wanted. */
  readonly isRetired?: (generation: Generation) => boolean
}

export interface WorkerLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

export interface WorkerLoopOptions {
  /** Ms since 1970: compared with times in jobs. */
  readonly clock: () => number
  /** 0 to 1, for jitter. */
  readonly random: () => number
  readonly log: WorkerLog
  /** Jobs in hand at a time. Eight a model process keep it busy while others fetch and publish. */
  readonly concurrency: number
  /** A claim ends by itself after this, unless renewed; default 60 s. */
  readonly leaseMs?: number
  /** A job whose item waits for longer runs although a newer image exists; default 2 s. */
  readonly supersedeForMs?: number
  /** Default 30 s. */
  readonly failAfterMs?: number
  /** Default 12. */
  readonly maxAttempts?: number
  /** Default 3. */
  readonly maxDecoderAttempts?: number
  /** Where the times of stages go; by default nowhere. */
  readonly meter?: Meter
}

export interface WorkerLoopStatus {
  readonly inFlight: number
  readonly done: number
  readonly failed: number
  readonly retried: number
  readonly superseded: number
  readonly cache: { readonly entries: number; readonly hits: number; readonly misses: number }
  /** Summed over all images. */
  readonly stageMs: { readonly fetch: number; readonly model: number }
}

const claimWaitMs = 200
const claimBatch = 256
const longestClaimPauseMs = 5_000
const afterLogFailureMs = 1_000
/** A job of a generation whose model is not held here: others may hold it, or this process soon. */
const notHeldPauseMs = 1_000
/** Between claims of nothing but such jobs, so that a backlog of them is not turned over and over. */
const nothingHeldPauseMs = 100

/**
 * Takes embed jobs from the queue and publishes what becomes of them to the mutation log of their generation.
 *
 * A job is in hand from its claim until it is completed, put back, or its claim is left to end. Crash windows: before
 * the append, the job runs again when its lease ends; between append and complete, it runs again and writes the same
 * key with the same meaning. A finished result is always published: the register decides whether it counts.
 */
export class WorkerLoop {
  readonly #ports: WorkerPorts
  readonly #options: WorkerLoopOptions
  readonly #objects: ItemObjects
  readonly #retries: RetrySchedule
  readonly #outbox: Outbox
  readonly #meter: WorkMeter
  readonly #trace: JobTrace
  /** And since when, by the monotonic clock. */
  readonly #inHand = new Map<ClaimedJob, number>()
  readonly #abandon = new AbortController()
  readonly #counts = { done: 0, failed: 0, retried: 0, superseded: 0 }
  readonly #leaseMs: number
  #stopping = false
  #running: Promise<void> | null = null
  #renewals: NodeJS.Timeout | null = null
  #onRelease = (): void => {}

  constructor(ports: WorkerPorts, options: WorkerLoopOptions) {
    this.#ports = ports
    this.#options = options
    const { clock, random, failAfterMs = 30_000, maxAttempts = 12, maxDecoderAttempts = 3 } = options
    this.#leaseMs = options.leaseMs ?? 60_000
    this.#meter = new WorkMeter(options.meter)
    this.#trace = new JobTrace(ports.queue.system ?? 'bullmq')
    this.#objects = new ItemObjects({ ...ports, meter: this.#meter })
    this.#retries = new RetrySchedule({ clock, random, failAfterMs, maxAttempts, maxDecoderAttempts })
    this.#outbox = new Outbox(ports, {
      onDurable: results => this.#published(results),
      onFailed: (results, thrown) => void this.#putBack(results, thrown),
      onNotSettled: (results, thrown) => {
        const fields = { jobs: results.length, ...reasonOf(thrown) }
        this.#options.log.warn(fields, 'finished jobs stay in the queue and will run again')
      },
    })
  }

  start(): void {
    this.#running ??= this.#claimAll()
    this.#renewals ??= setInterval(() => void this.#renewAll(), this.#leaseMs / 3)
  }

  /**
   * Claims no more, lets what is in hand finish until the deadline, puts the rest back at once. A claim that waits is
   * waited for (a fifth of a second at most), so that nothing is claimed after this.
   */
  async stop(deadlineMs: number): Promise<void> {
    this.#stopping = true
    this.#onRelease()
    const deadline = new AbortController()
    await Promise.race([this.#drained(), delay(deadlineMs, undefined, { signal: deadline.signal }).catch(() => {})])
    deadline.abort()
    this.#abandon.abort()
    await this.#running
    if (this.#renewals) clearInterval(this.#renewals)
    const rest = [...this.#inHand.keys()]
    this.#inHand.clear()
    await Promise.all(rest.map(job => this.#retry(job, { delayMs: 0, priority: job.priority })))
  }

  status(): WorkerLoopStatus {
    const { fetchMs, modelMs } = this.#objects.times
    return {
      inFlight: this.#inHand.size,
      ...this.#counts,
      cache: this.#ports.cache.status(),
      stageMs: { fetch: fetchMs, model: modelMs },
    }
  }

  async #drained(): Promise<void> {
    await this.#running
    while (this.#inHand.size > 0) await this.#released()
    await this.#outbox.flush()
  }

  #released(): Promise<void> {
    return new Promise(resolve => {
      this.#onRelease = resolve
    })
  }

  async #claimAll(): Promise<void> {
    const worthClaiming = Math.ceil(this.#options.concurrency / 8)
    for (let failures = 0; !this.#stopping; ) {
      const free = this.#options.concurrency - this.#inHand.size
      if (free < worthClaiming) {
        await this.#released()
        continue
      }
      try {
        const claimed = await this.#ports.queue.claim(Math.min(free, claimBatch), this.#leaseMs, claimWaitMs)
        if (claimed.length > 0) await this.#take(claimed)
        // A queue that is closed answers at once; others get their turn all the same.
        else await nextTurn()
        failures = 0
      } catch (thrown) {
        if (this.#stopping) return
        this.#options.log.warn(reasonOf(thrown), 'jobs could not be claimed')
        const pauseMs = Math.min(longestClaimPauseMs, 100 * 2 ** failures++)
        await this.#pause(pauseMs)
      }
    }
  }

  async #pause(ms: number): Promise<void> {
    await delay(ms, undefined, { signal: this.#abandon.signal }).catch(() => {})
  }

  /** Drops what is superseded or of a retired generation, hands back what is not for this process, begins the rest. */
  async #take(claimed: readonly ClaimedJob[]): Promise<void> {
    const { modelOf, isRetired = () => false } = this.#ports
    const dropped: ClaimedJob[] = []
    const notHeld: ClaimedJob[] = []
    const readable: { claimed: ClaimedJob; job: EmbedJob; model: ImageModel }[] = []
    for (const each of claimed) {
      const job = this.#read(each)
      const model = job && modelOf(job.generation)
      if (job === null || isRetired(job.generation)) dropped.push(each)
      else if (model) readable.push({ claimed: each, job, model })
      else notHeld.push(each)
    }
    const hints = await this.#readHints(readable.map(({ job }) => job))
    readable.forEach(({ claimed: each, job, model }, i) => {
      if (this.#isSuperseded(job, hints[i])) {
        this.#counts.superseded++
        dropped.push(each)
      } else void this.#run(each, job, model)
    })
    if (notHeld.length > 0) await this.#handBack(notHeld)
    if (dropped.length > 0) await this.#ports.queue.complete(dropped)
    if (notHeld.length === claimed.length) await this.#pause(nothingHeldPauseMs)
  }

  /** Of generations whose model is not held here. */
  async #handBack(jobs: readonly ClaimedJob[]): Promise<void> {
    const how = { delayMs: notHeldPauseMs, isUntried: true }
    await Promise.all(jobs.map(job => this.#retry(job, { ...how, priority: job.priority })))
  }

  /** Hints may be lost at any time, and none means not superseded: at worst a picture is embedded for nothing. */
  async #readHints(jobs: readonly EmbedJob[]): Promise<readonly (number | undefined)[]> {
    const keys = jobs.map(({ generation, itemId }) => supersedeHintKey(generation, itemId))
    return this.#ports.features.read(keys).catch((thrown: unknown) => {
      this.#options.log.warn(reasonOf(thrown), 'superseding hints could not be read')
      return []
    })
  }

  /** A payload of another release is dropped: the dispatcher's sweep adds the job again as it is written now. */
  #read(claimed: ClaimedJob): EmbedJob | null {
    try {
      return decodeJob(claimed.payload)
    } catch (thrown) {
      this.#options.log.warn({ jobId: claimed.id, ...reasonOf(thrown) }, 'a job could not be read and is dropped')
      return null
    }
  }

  #isSuperseded(job: EmbedJob, newestOffset: number | undefined): boolean {
    if (newestOffset === undefined || newestOffset <= job.version.offset) return false
    return this.#options.clock() - job.pendingSinceMs < (this.#options.supersedeForMs ?? 2_000)
  }

  #run(claimed: ClaimedJob, job: EmbedJob, model: ImageModel): Promise<void> {
    this.#inHand.set(claimed, performance.now())
    return this.#trace.run(claimed, job, () => this.#work(claimed, job, model))
  }

  async #work(claimed: ClaimedJob, job: EmbedJob, model: ImageModel): Promise<void> {
    const { signal } = this.#abandon
    try {
      const { put, fresh } = await this.#objects.embed(job, model, signal)
      this.#counts.done++
      this.#outbox.add({ claimed, records: [this.#mutation(claimed, job, put)], fresh, jobEnd: { type: 'complete' } })
    } catch (thrown) {
      if (!signal.aborted) await this.#fail(claimed, job, thrown)
    }
  }

  async #fail(claimed: ClaimedJob, job: EmbedJob, thrown: unknown): Promise<void> {
    const { id: jobId, attempt, priority } = claimed
    const { stage, failure } = thrown instanceof ImageWorkError ? thrown : unexpected(thrown)
    const decision = this.#retries.decide({ jobId, attempt, priority, error: failure })
    const failed = { job, stage, failure, attempts: attempt }
    this.#trace.failed(claimed, failure)
    if (decision.type === 'give-up') {
      this.#counts.failed++
      this.#options.log.warn({ jobId, ...placeOf(job), stage, attempt, ...reasonOf(failure) }, 'image work is given up')
      const records = [this.#mutation(claimed, job, workFailed(failed, false)), this.#deadLetter(failed)]
      this.#outbox.add({ claimed, records, fresh: [], jobEnd: { type: 'complete' } })
      return
    }
    this.#counts.retried++
    if (decision.report) {
      const records = [this.#mutation(claimed, job, workFailed(failed, true))]
      this.#outbox.add({ claimed, records, fresh: [], jobEnd: decision })
      return
    }
    await this.#retry(claimed, decision)
  }

  #mutation(claimed: ClaimedJob, job: EmbedJob, mutation: Mutation): OutgoingResult['records'][number] {
    const key = Buffer.from(mutationKey(mutation))
    const value = this.#ports.codecs.mutations.encode(mutation)
    const record = { partition: job.partition, key, value, ...headersFor(this.#trace.headersOf(claimed, job)) }
    return { topic: mutationTopic(job.generation), record }
  }

  #deadLetter({ job, stage, failure, attempts }: FailedWork): OutgoingResult['records'][number] {
    const key = Buffer.from(job.itemId)
    const value = this.#ports.codecs.deadLetters.encode({
      type: 'DeadLetter',
      sourceTopic: catalogTopic,
      sourcePartition: job.partition,
      sourceOffset: job.version.offset,
      generation: job.generation,
      stage,
      code: failure.code,
      message: failure.message,
      attempts,
      failedAtMs: this.#options.clock(),
      traceparent: job.traceparent,
      key,
      // The event's bytes are not in the job; the job itself is what redrive runs again.
      value: null,
      job,
    })
    const record = { partition: job.partition, key, value, ...headersFor(traceOf(job)) }
    return { topic: deadLetterTopic, record }
  }

  /** Nothing was published: the jobs go back, with a pause, because the log is what failed. */
  async #putBack(results: readonly OutgoingResult[], thrown: unknown): Promise<void> {
    this.#options.log.warn({ jobs: results.length, ...reasonOf(thrown) }, 'results could not be published')
    await Promise.all(
      results.map(({ claimed }) => {
        // So that a report that was lost is made again.
        this.#retries.forget(claimed.id)
        return this.#retry(claimed, { delayMs: afterLogFailureMs, priority: claimed.priority })
      }),
    )
  }

  async #retry(claimed: ClaimedJob, { delayMs, priority, isUntried = false }: JobReturn): Promise<void> {
    try {
      await this.#ports.queue.retry(claimed, { delayMs, priority, isUntried })
    } catch (thrown) {
      this.#options.log.warn({ jobId: claimed.id, ...reasonOf(thrown) }, 'a job waits for the end of its lease')
    }
    this.#release(claimed)
  }

  #published(results: readonly OutgoingResult[]): void {
    for (const { claimed, jobEnd } of results) {
      if (jobEnd.type === 'complete') this.#retries.forget(claimed.id)
      const sinceMs = this.#inHand.get(claimed)
      if (sinceMs !== undefined) this.#meter.took('job', performance.now() - sinceMs)
      this.#release(claimed)
    }
  }

  #release(claimed: ClaimedJob): void {
    this.#trace.end(claimed)
    this.#inHand.delete(claimed)
    this.#onRelease()
  }

  async #renewAll(): Promise<void> {
    if (this.#inHand.size === 0) return
    try {
      const lapsed = await this.#ports.queue.renew([...this.#inHand.keys()], this.#leaseMs)
      if (lapsed.length > 0) this.#options.log.warn({ jobs: lapsed.length }, 'leases ended before they were renewed')
    } catch (thrown) {
      this.#options.log.warn(reasonOf(thrown), 'leases could not be renewed')
    }
  }
}

interface FailedWork {
  readonly job: EmbedJob
  readonly stage: WorkStage
  readonly failure: FreshetError
  readonly attempts: number
}

function workFailed({ job, stage, failure, attempts }: FailedWork, retryable: boolean): WorkFailed {
  const { itemId, version, imageIdentity } = job
  const { code, message } = failure
  return { type: 'WorkFailed', itemId, version, imageIdentity, stage, code, message, retryable, attempts }
}

function unexpected(thrown: unknown): { readonly stage: WorkStage; readonly failure: FreshetError } {
  return { stage: 'embed', failure: asFreshetError(thrown) }
}

/** Most records are of no trace, and have no headers then. */
function headersFor(headers: TraceHeaders): { readonly headers?: Readonly<Record<string, string>> } {
  return headers === noTrace ? {} : { headers: { ...headers } }
}

/** For log lines that are about one event. */
function placeOf({ itemId, generation, partition, version }: EmbedJob) {
  return { itemId, generation, partition, offset: version.offset }
}

function reasonOf(thrown: unknown): { readonly code: string; readonly reason: string } {
  const { code, message } = asFreshetError(thrown)
  return { code, reason: message }
}
