import { readFileSync } from 'node:fs'

import { FreshetError } from '../schemas/errors.ts'
import { type FromModelProcess, fromSentError } from './model-messages.ts'
import { ModelProcess, type ModelProcessOptions } from './model-process.ts'
import type { PictureTask } from './picture-task.ts'

/** What supervision says; a pino logger fits. */
export interface ModelLog {
  info(fields: object, message: string): void
  warn(fields: object, message: string): void
}

export interface ModelLimits {
  /** Longest time one indexing picture may run. */
  readonly indexMs: number
  /** Longest time one query may run. */
  readonly queryMs: number
  /** Longest time from fork to ready. */
  readonly startMs: number
  /** Resident memory above which a process is replaced after its pictures; at twice this it is killed. */
  readonly rssBytes: number
}

/**
 * starting: forked, loading the models. ready: takes pictures. draining: to be replaced, finishes what it has.
 * pausing: gone, waits before it is forked again. closed: for good.
 *
 *   starting ──ready──▶ ready ──memory, priority──▶ draining ──empty──▶ starting
 *       └──────┬──────────┴───────┬──────────┘
 *             end                end ──▶ pausing ──pause over──▶ starting
 */
export type SlotState = 'starting' | 'ready' | 'draining' | 'pausing' | 'closed'

export interface SlotStatus {
  readonly pid: number | null
  readonly state: SlotState
  readonly restarts: number
  readonly lastError: string | null
  readonly rssBytes: number
  readonly inFlight: number
}

export interface ModelSlotOptions {
  readonly process: ModelProcessOptions
  readonly limits: ModelLimits
  readonly log: ModelLog
  /** It can take more than before. */
  onFree(): void
  /** Its process ended while these were running in it: each is the culprit or a neighbour. */
  onSuspects(tasks: readonly PictureTask[], cause: FreshetError): void
  /** These have nothing to do with it. */
  onReturned(tasks: readonly PictureTask[]): void
}

/** What gives way to others takes longer for the same work. */
const backgroundPatience = 5
const firstPauseMs = 100
const longestPauseMs = 10_000

/** A place for one model process at a time: gives it pictures, watches time and memory, starts it again when it ends. */
export class ModelSlot {
  readonly #options: ModelSlotOptions
  readonly #inFlight = new Map<number, PictureTask>()
  #process: ModelProcess | null = null
  #state: SlotState = 'pausing'
  #killed: { readonly cause: FreshetError; readonly overdue: PictureTask | null } | null = null
  #lastError: FreshetError | null = null
  #restarts = 0
  #failuresInARow = 0
  #rssBytes = 0
  #startingMs = 0
  #pause: NodeJS.Timeout | null = null
  #firstStart: { resolve(): void; reject(cause: FreshetError): void } | null = null
  #isBackground = false
  /** As the process that runs was started. */
  #startedInBackground = false

  constructor(options: ModelSlotOptions) {
    this.#options = options
  }

  /** Starts the first process. @throws FreshetError `model-invalid` when it cannot start; the slot is then closed */
  open(): Promise<void> {
    return new Promise((resolve, reject) => {
      this.#firstStart = { resolve, reject }
      this.#start()
    })
  }

  /** Whether its processes give way to others: those it starts from now on. */
  setBackground(isBackground: boolean): void {
    this.#isBackground = isBackground
  }

  /** Its process gives way where it should not, or the other way round. */
  get isOutdated(): boolean {
    return this.isReady && this.#startedInBackground !== this.#isBackground
  }

  /** Replaces the process once it has done what it has. */
  replace(): void {
    this.#state = 'draining'
    if (this.isEmpty) this.#kill(new FreshetError('overloaded', 'replaced by one of another priority'))
  }

  get isReady(): boolean {
    return this.#state === 'ready' && this.#killed === null
  }

  get isEmpty(): boolean {
    return this.#inFlight.size === 0
  }

  get queries(): number {
    let count = 0
    for (const task of this.#inFlight.values()) if (task.isQuery) count++
    return count
  }

  get indexing(): number {
    return this.#inFlight.size - this.queries
  }

  run(task: PictureTask): void {
    task.ranMs = 0
    this.#inFlight.set(task.id, task)
    this.#process?.send({ type: 'work', id: task.id, request: task.request })
  }

  /** Tells the process that nobody waits for the task; its place stays taken until it answers. */
  cancel(task: PictureTask): void {
    if (this.#inFlight.has(task.id)) this.#process?.send({ type: 'cancel', id: task.id })
  }

  /**
   * Time has passed. Queries run at once; of the indexing pictures only the oldest runs, and only while no query is
   * there, as the process itself does it.
   */
  tick(elapsedMs: number): void {
    if (this.#state === 'starting') {
      this.#startingMs += elapsedMs
      if (this.#startingMs > this.#options.limits.startMs)
        this.#kill(new FreshetError('model-invalid', 'the model process was not ready in time'))
      return
    }
    const { indexMs, queryMs } = this.#options.limits
    for (const task of this.#running()) {
      task.ranMs += this.#startedInBackground ? elapsedMs / backgroundPatience : elapsedMs
      const limitMs = task.isQuery ? queryMs : indexMs
      if (task.ranMs > limitMs)
        this.#kill(new FreshetError('decoder-timeout', `the picture was not done within ${limitMs} ms`), task)
    }
  }

  /** Kills a process that takes more than twice its memory limit in the middle of a picture. */
  checkMemory(): void {
    const pid = this.#process?.pid
    if (pid === undefined || this.isEmpty) return
    const limitBytes = 2 * this.#options.limits.rssBytes
    const rssBytes = residentBytes(pid)
    if (rssBytes > limitBytes)
      this.#kill(new FreshetError('decoder-crashed', `the picture took ${rssBytes} bytes of memory`))
  }

  status(): SlotStatus {
    return {
      pid: this.#process?.pid ?? null,
      state: this.#state,
      restarts: this.#restarts,
      lastError: this.#lastError?.message ?? null,
      rssBytes: this.#rssBytes,
      inFlight: this.#inFlight.size,
    }
  }

  /** Ends the process and fails what is in it with `not-ready`. */
  async close(): Promise<void> {
    this.#state = 'closed'
    if (this.#pause) clearTimeout(this.#pause)
    this.#process?.kill()
    for (const task of this.#inFlight.values()) task.fail(new FreshetError('not-ready', 'the model pool is closing'))
    this.#inFlight.clear()
    await this.#process?.ended
  }

  #start(): void {
    this.#state = 'starting'
    this.#startingMs = 0
    this.#startedInBackground = this.#isBackground
    this.#process = new ModelProcess(this.#options.process, this.#isBackground, {
      onReady: () => this.#onReady(),
      onAnswer: answer => this.#onAnswer(answer),
      onEnd: cause => this.#onEnd(this.#killed?.cause ?? cause),
    })
  }

  #onReady(): void {
    if (this.#state !== 'starting') return
    this.#state = 'ready'
    this.#firstStart?.resolve()
    this.#firstStart = null
    this.#options.log.info({ pid: this.#process?.pid, restarts: this.#restarts }, 'model process is ready')
    this.#options.onFree()
  }

  #onAnswer({ id, rssBytes, outcome }: Extract<FromModelProcess, { type: 'answer' }>): void {
    const task = this.#inFlight.get(id)
    this.#inFlight.delete(id)
    this.#failuresInARow = 0
    this.#rssBytes = rssBytes
    if (outcome.type === 'done') task?.finish(outcome.result)
    else task?.fail(fromSentError(outcome.error))
    if (rssBytes > this.#options.limits.rssBytes && this.#state === 'ready') this.#state = 'draining'
    if (this.#state === 'draining' && this.isEmpty)
      this.#kill(new FreshetError('overloaded', `replaced; it held ${rssBytes} bytes of memory`))
    else this.#options.onFree()
  }

  #kill(cause: FreshetError, overdue: PictureTask | null = null): void {
    this.#killed ??= { cause, overdue }
    this.#process?.kill()
  }

  #onEnd(cause: FreshetError): void {
    if (this.#state === 'closed') return
    // Its answer came while it was being killed: then nobody is to blame.
    const isMoot = this.#killed?.overdue && !this.#inFlight.has(this.#killed.overdue.id)
    this.#process = null
    this.#killed = null
    this.#lastError = cause
    if (this.#firstStart) {
      this.#state = 'closed'
      this.#firstStart.reject(
        cause.code === 'model-invalid' ? cause : new FreshetError('model-invalid', cause.message, { cause }),
      )
      return
    }
    this.#restartAfterPause(cause)
    const suspects = isMoot ? [] : this.#begun()
    const others = [...this.#inFlight.values()].filter(task => !suspects.includes(task))
    this.#inFlight.clear()
    this.#options.onReturned(others)
    if (suspects.length > 0) this.#options.onSuspects(suspects, cause)
  }

  #restartAfterPause(cause: FreshetError): void {
    this.#restarts++
    const isPlanned = this.#state === 'draining' && this.isEmpty
    const pauseMs = isPlanned ? 0 : Math.min(longestPauseMs, firstPauseMs * 2 ** this.#failuresInARow)
    if (!isPlanned) this.#failuresInARow++
    this.#state = 'pausing'
    const fields = { cause: cause.message, code: cause.code, restarts: this.#restarts, pauseMs }
    this.#options.log[isPlanned ? 'info' : 'warn'](fields, 'model process ended and is started again')
    this.#pause = setTimeout(() => this.#start(), pauseMs)
  }

  /** What time counts for now. */
  #running(): readonly PictureTask[] {
    const tasks = [...this.#inFlight.values()]
    const queries = tasks.filter(task => task.isQuery)
    return queries.length > 0 ? queries : tasks.slice(0, 1)
  }

  /** What the process may have in its hands: every query and the oldest indexing picture. */
  #begun(): readonly PictureTask[] {
    const tasks = [...this.#inFlight.values()]
    const oldest = tasks.find(task => !task.isQuery)
    return tasks.filter(task => task.isQuery || task === oldest)
  }
}

/** Resident bytes of a process; 0 where the system does not tell (then only its own reports count). */
function residentBytes(pid: number): number {
  try {
    const kibibytes = /^VmRSS:\s+(\d+) kB/m.exec(readFileSync(`/proc/${pid}/status`, 'utf8'))?.[1]
    return Number(kibibytes ?? 0) * 1024
  } catch {
    return 0
  }
}
