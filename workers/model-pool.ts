import { fileURLToPath } from 'node:url'

import { FreshetError } from '../schemas/errors.ts'
import type { Fingerprint, ImageDigest } from '../schemas/ids.ts'
import type { AnalysedImage, ImageBytes, ImageModel, IndexedImage, QuerySelection } from '../schemas/image-analysis.ts'
import { bundledModels, openModelSet } from './model-manifest.ts'
import type { PictureRequest } from './model-messages.ts'
import { type ModelLimits, type ModelLog, ModelSlot, type SlotStatus } from './model-slot.ts'
import { PictureTask } from './picture-task.ts'
import { defaultMaxPixels } from './preprocess/policies.ts'

export interface ModelPoolOptions {
  /** Name of the model set, such as `v1`. */
  readonly modelSet: string
  /** Model processes; each is one thread of work. */
  readonly processes: number
  /** Monotonic ms. */
  readonly clock: () => number
  readonly log: ModelLog
  /** Default: the models that come with Freshet. */
  readonly modelDirectory?: string
  /** Most pixels of a picture before decoding; default 64 million. */
  readonly maxPixels?: number
  readonly limits?: Partial<ModelLimits>
  /** Indexing pictures and queries that may wait, each; beyond it calls reject with `overloaded`. */
  readonly maxWaiting?: { readonly indexing: number; readonly queries: number }
  /** Program of the child processes; default `model-child.ts`. */
  readonly childEntry?: string
  /** See `setBackground`. */
  readonly isBackground?: boolean
}

export interface ModelPoolStatus {
  readonly model: string
  readonly fingerprint: Fingerprint
  readonly waiting: { readonly indexing: number; readonly queries: number; readonly alone: number }
  readonly processes: readonly SlotStatus[]
}

const defaultLimits: ModelLimits = {
  indexMs: 20_000,
  queryMs: 10_000,
  startMs: 60_000,
  rssBytes: 1.2 * 1024 ** 3,
}
const defaultMaxWaiting = { indexing: 4_096, queries: 256 }
/** Pictures given to a process at once: one in work and two ahead, so that it never waits for this thread. */
const indexingPerProcess = 3
/** One in work and one ahead; the rest waits here for whichever process is free first. */
const queriesPerProcess = 2
const tickMs = 100
const memoryEveryTicks = 10

/**
 * The model set of a generation, run in supervised child processes.
 *
 * Order: pictures to be run alone, then queries, then indexing. Queries go to the process with the fewest queries,
 * and in it ahead of every indexing step. A picture that was running when its process ended is run again alone, in a
 * process that has nothing else; one that ends that process too, or that took too long with nothing beside it, is the
 * culprit and is failed. What had not begun goes back to the head of the queue.
 */
export class ModelPool implements ImageModel {
  readonly model: string
  readonly fingerprint: Fingerprint
  readonly dims: number
  readonly #slots: readonly ModelSlot[]
  readonly #queries: PictureTask[] = []
  readonly #indexing: PictureTask[] = []
  readonly #alone: PictureTask[] = []
  /** The process that is emptied for, or works on, a picture that must be alone. */
  #reserved: ModelSlot | null = null
  readonly #maxWaiting: { readonly indexing: number; readonly queries: number }
  readonly #clock: () => number
  readonly #ticker: NodeJS.Timeout
  #lastTickMs: number
  #ticks = 0
  #nextId = 1
  #closed = false

  private constructor(options: ModelPoolOptions, set: Pick<ImageModel, 'model' | 'fingerprint' | 'dims'>) {
    this.model = set.model
    this.fingerprint = set.fingerprint
    this.dims = set.dims
    this.#maxWaiting = options.maxWaiting ?? defaultMaxWaiting
    this.#slots = Array.from({ length: options.processes }, (_, place) => this.#newSlot(options, place))
    this.setBackground(options.isBackground ?? false)
    this.#clock = options.clock
    this.#lastTickMs = options.clock()
    this.#ticker = setInterval(() => this.#tick(), tickMs)
    this.#ticker.unref()
  }

  /**
   * Verifies the model files, starts the processes and resolves when all are ready, and have computed on this machine
   * what the manifest says: each its golden vector of the pattern, the first one those of pictures too.
   * @throws FreshetError `model-invalid`
   */
  static async open(options: ModelPoolOptions): Promise<ModelPool> {
    const set = await openModelSet(options.modelDirectory ?? bundledModels, options.modelSet)
    const pool = new ModelPool(options, { model: set.name, fingerprint: set.fingerprint, dims: set.dims })
    try {
      await Promise.all(pool.#slots.map(slot => slot.open()))
      return pool
    } catch (thrown) {
      await pool.close()
      throw thrown
    }
  }

  /** Whether its processes give way to those of other pools. They are replaced for it one after the other. */
  setBackground(isBackground: boolean): void {
    for (const slot of this.#slots) slot.setBackground(isBackground)
    this.#replaceOutdated()
  }

  async index(image: ImageBytes, digest: ImageDigest, signal?: AbortSignal): Promise<IndexedImage> {
    if (this.#indexing.length >= this.#maxWaiting.indexing)
      throw new FreshetError('overloaded', `${this.#indexing.length} pictures wait to be indexed`)
    return this.#submit<IndexedImage>(this.#indexing, { type: 'index', image, digest }, signal)
  }

  async analyse(image: ImageBytes, selection: QuerySelection, signal?: AbortSignal): Promise<AnalysedImage> {
    if (this.#queries.length >= this.#maxWaiting.queries)
      throw new FreshetError('overloaded', `${this.#queries.length} query pictures wait`)
    return this.#submit<AnalysedImage>(this.#queries, { type: 'analyse', image, selection }, signal)
  }

  status(): ModelPoolStatus {
    return {
      model: this.model,
      fingerprint: this.fingerprint,
      waiting: { indexing: this.#indexing.length, queries: this.#queries.length, alone: this.#alone.length },
      processes: this.#slots.map(slot => slot.status()),
    }
  }

  /** Ends the processes; what waits or runs fails with `not-ready`. */
  async close(): Promise<void> {
    this.#closed = true
    clearInterval(this.#ticker)
    for (const queue of [this.#queries, this.#indexing, this.#alone])
      for (const task of queue.splice(0)) task.fail(new FreshetError('not-ready', 'the model pool is closing'))
    await Promise.all(this.#slots.map(slot => slot.close()))
  }

  /** One at a time, while all others can take its pictures. */
  #replaceOutdated(): void {
    if (this.#slots.every(slot => slot.isReady)) this.#slots.find(slot => slot.isOutdated)?.replace()
  }

  #newSlot(options: ModelPoolOptions, place: number): ModelSlot {
    const entry = options.childEntry ?? fileURLToPath(new URL('./model-child.ts', import.meta.url))
    const { modelDirectory = bundledModels, modelSet, maxPixels = defaultMaxPixels } = options
    // What decodes pictures is the same for all of them.
    const goldens = place === 0 ? 'all' : 'pattern'
    return new ModelSlot({
      process: { entry, args: [modelDirectory, modelSet, String(maxPixels), goldens] },
      limits: { ...defaultLimits, ...options.limits },
      log: options.log,
      onFree: () => {
        this.#replaceOutdated()
        this.#assign()
      },
      onReturned: tasks => this.#putBack(tasks),
      onSuspects: (tasks, cause) => this.#isolate(tasks, cause),
    })
  }

  #submit<Result>(queue: PictureTask[], request: PictureRequest, signal: AbortSignal | undefined): Promise<Result> {
    if (this.#closed) throw new FreshetError('not-ready', 'the model pool is closed')
    return new Promise<Result>((resolve, reject) => {
      const settle = { resolve: resolve as (result: unknown) => void, reject }
      const task = new PictureTask(this.#nextId++, request, settle)
      if (signal) task.abortWith(signal, () => this.#forget(task))
      if (task.isSettled) return
      queue.push(task)
      this.#assign()
    })
  }

  #forget(task: PictureTask): void {
    for (const queue of [this.#queries, this.#indexing, this.#alone]) {
      const at = queue.indexOf(task)
      if (at >= 0) queue.splice(at, 1)
    }
    for (const slot of this.#slots) slot.cancel(task)
  }

  #assign(): void {
    this.#assignAlone()
    const shared = () => this.#slots.filter(slot => slot.isReady && slot !== this.#reserved)
    while (this.#queries.length > 0) {
      const slot = leastLoaded(shared(), each => each.queries, queriesPerProcess)
      if (slot === null) break
      slot.run(this.#queries.shift()!)
    }
    while (this.#indexing.length > 0) {
      const slot = leastLoaded(shared(), each => each.indexing, indexingPerProcess)
      if (slot === null) break
      slot.run(this.#indexing.shift()!)
    }
  }

  /** One picture alone at a time, in one process: the others go on with the rest. */
  #assignAlone(): void {
    if (this.#alone.length === 0) {
      if (this.#reserved?.isEmpty) this.#reserved = null
      return
    }
    const ready = this.#slots.filter(slot => slot.isReady)
    if (this.#reserved === null || !ready.includes(this.#reserved))
      this.#reserved = leastLoaded(ready, slot => slot.queries + slot.indexing, Number.POSITIVE_INFINITY)
    if (this.#reserved?.isEmpty) this.#reserved.run(this.#alone.shift()!)
  }

  #putBack(tasks: readonly PictureTask[]): void {
    const awaited = tasks.filter(task => !task.isSettled)
    this.#queries.unshift(...awaited.filter(task => task.isQuery))
    this.#indexing.unshift(...awaited.filter(task => !task.isQuery))
    this.#assign()
  }

  #isolate(tasks: readonly PictureTask[], cause: FreshetError): void {
    const isCulprit = (task: PictureTask) =>
      tasks.length === 1 && (task.crashes > 0 || cause.code === 'decoder-timeout')
    for (const task of tasks) {
      if (task.isSettled) continue
      if (isCulprit(task)) task.fail(cause)
      else this.#alone.push(task)
      task.crashes++
    }
    this.#assign()
  }

  #tick(): void {
    const now = this.#clock()
    // When this thread itself stood still, the processes are not to blame for the time.
    const elapsedMs = Math.min(now - this.#lastTickMs, 2 * tickMs)
    this.#lastTickMs = now
    this.#ticks++
    for (const slot of this.#slots) {
      slot.tick(elapsedMs)
      if (this.#ticks % memoryEveryTicks === 0) slot.checkMemory()
    }
  }
}

/** The slot with the least of something below a bound; null when there is none. */
function leastLoaded(slots: readonly ModelSlot[], load: (slot: ModelSlot) => number, bound: number): ModelSlot | null {
  let best: ModelSlot | null = null
  for (const slot of slots) if (load(slot) < (best === null ? bound : load(best))) best = slot
  return best
}
