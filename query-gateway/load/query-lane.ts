import { FreshetError } from '../../schemas/errors.ts'
import { NumberMap } from '../../schemas/number-map.ts'

export interface LaneBounds {
  /** Queries at work at once. */
  readonly maxRunning: number
  /** Queries that wait; beyond it they are refused, however short the wait would be. */
  readonly maxWaiting: number
  /** Longest time that a query waits for its turn; less where queries take less. */
  readonly maxWaitMs: number
}

export const refusalReasons = ['queue-full', 'wait-too-long', 'waited-too-long'] as const
export type RefusalReason = (typeof refusalReasons)[number]

export interface LaneObserver {
  /** Time between arrival and begin, of queries that ran. */
  waited(ms: number): void
  refused(reason: RefusalReason): void
}

export interface Turn {
  /** Time the query has for all it does, waiting included. */
  readonly patienceMs: number
  /** Aborts when nobody wants the answer any more. */
  readonly signal: AbortSignal
}

interface Waiting {
  readonly arrivedAtMs: number
  begin(): void
}

/** Share that the newest query has in the measured service time: of the last twenty, mostly. */
const newestShare = 0.1
const longestRetryAfterMs = 30_000
/** However quick queries are: a pause of this process, or a few that come at once, shall refuse nobody. */
const leastWaitMs = 40
/** Of the longest wait: a query that is taken, waits and is refused after all has cost its reading, and the caller time. */
const expectedShare = 0.85
/**
 * The same once the line stands, which is: was never empty for so many times the longest wait. A burst is what a line is
 * for; where more keep coming than can be taken, one half as long keeps every place taken as well, and hardly anyone
 * waits in vain. After CoDel (Nichols and Jacobson, "Controlling Queue Delay", 2012).
 */
const standingShare = 0.5
const standsAfterWaits = 3

/**
 * One kind of query: so many at work, the others in order of arrival behind them, and nobody behind them longer than the
 * bound, or than queries take: an answer that begins later than that is late, and a line that long keeps every place
 * taken. Who would wait longer, by what queries took lately, is refused on arrival, which costs next to nothing; who did
 * wait longer is refused then and never run, because whoever asked has gone, or asks again.
 *
 * A query is waiting → running → done, or waiting → refused, or waiting → left when its signal aborts.
 */
export class QueryLane {
  readonly #bounds: LaneBounds
  readonly #nowMs: () => number
  readonly #observer: LaneObserver
  /** By number of arrival. */
  readonly #waiting = new NumberMap<Waiting>()
  #arrivals = 0
  /** Since when the line has not been empty. */
  #lineSinceMs = 0
  /** None that waits came before this one. */
  #oldest = 0
  #running = 0
  /** Of queries, smoothed; 0 until the first has ended. */
  #serviceMs = 0

  constructor(bounds: LaneBounds, nowMs: () => number, observer: LaneObserver) {
    this.#bounds = bounds
    this.#nowMs = nowMs
    this.#observer = observer
  }

  get running(): number {
    return this.#running
  }

  get hasRoom(): boolean {
    return this.#running < this.#bounds.maxRunning
  }

  get waiting(): number {
    return this.#waiting.size
  }

  /** How long a query that arrived now would wait, by what queries took lately. */
  get expectedWaitMs(): number {
    return this.hasRoom ? 0 : ((this.#waiting.size + 1) * this.#serviceMs) / this.#bounds.maxRunning
  }

  /** Why a query that arrived now would be refused; null when it would be taken. */
  refusal(patienceMs = Number.POSITIVE_INFINITY): RefusalReason | null {
    if (this.hasRoom) return null
    if (this.#waiting.size >= this.#bounds.maxWaiting) return 'queue-full'
    const share = this.#isStanding ? standingShare : expectedShare
    const longestMs = share * Math.min(this.longestWaitMs, patienceMs)
    return this.expectedWaitMs > longestMs ? 'wait-too-long' : null
  }

  get #isStanding(): boolean {
    return this.#waiting.size > 0 && this.#nowMs() - this.#lineSinceMs > standsAfterWaits * this.longestWaitMs
  }

  /** As long as queries take lately, within the bounds; the whole bound while that is not known. */
  get longestWaitMs(): number {
    const { maxWaitMs } = this.#bounds
    return this.#serviceMs === 0 ? maxWaitMs : Math.min(maxWaitMs, Math.max(leastWaitMs, this.#serviceMs))
  }

  /**
   * Runs the query when its turn comes.
   * @throws FreshetError `overloaded` | the signal's reason | what the query threw
   */
  async run<T>(query: () => Promise<T>, turn: Turn): Promise<T> {
    turn.signal.throwIfAborted()
    const reason = this.refusal(turn.patienceMs)
    if (reason !== null) throw this.refuse(reason)
    if (this.hasRoom) this.#running++
    else await this.#wait(turn)
    const beganAtMs = this.#nowMs()
    try {
      return await query()
    } finally {
      this.#measure(this.#nowMs() - beganAtMs)
      this.#running--
      this.#beginNext()
    }
  }

  /** The error of a refusal, which is counted. */
  refuse(reason: RefusalReason): FreshetError {
    this.#observer.refused(reason)
    const retryAfterMs = Math.min(longestRetryAfterMs, Math.max(1_000, Math.ceil(this.expectedWaitMs)))
    const message = `${this.#running} queries are at work and ${this.#waiting.size} wait`
    return withoutStack(() => new FreshetError('overloaded', message, { details: { reason, retryAfterMs } }))
  }

  /** Resolves when a place is ours. */
  #wait({ patienceMs, signal }: Turn): Promise<void> {
    const longestMs = Math.min(this.longestWaitMs, patienceMs)
    const arrival = this.#arrivals++
    return new Promise<void>((resolve, reject) => {
      const leave = (why: () => unknown) => (): void => {
        this.#waiting.delete(arrival)
        settle()
        reject(why())
      }
      const giveUp = leave(() => this.refuse('waited-too-long'))
      const abort = leave(() => signal.reason)
      const timer = setTimeout(giveUp, longestMs)
      const settle = (): void => {
        clearTimeout(timer)
        signal.removeEventListener('abort', abort)
      }
      const waiting: Waiting = {
        arrivedAtMs: this.#nowMs(),
        begin: () => {
          settle()
          const waitedMs = this.#nowMs() - waiting.arrivedAtMs
          // The timer may be late where the process is busy: that is when it matters.
          if (waitedMs > longestMs) return giveUp()
          this.#waiting.delete(arrival)
          this.#running++
          this.#observer.waited(waitedMs)
          resolve()
        },
      }
      signal.addEventListener('abort', abort)
      if (this.#waiting.size === 0) this.#lineSinceMs = waiting.arrivedAtMs
      this.#waiting.set(arrival, waiting)
    })
  }

  /** The oldest that still may begin; those that waited too long are refused on the way. */
  #beginNext(): void {
    while (this.hasRoom && this.#waiting.size > 0) this.#waiting.get(this.#oldest++)?.begin()
    if (this.#waiting.size === 0) this.#oldest = this.#arrivals
  }

  #measure(tookMs: number): void {
    this.#serviceMs = this.#serviceMs === 0 ? tookMs : this.#serviceMs + newestShare * (tookMs - this.#serviceMs)
  }
}

/** Under overload refusals are what there is most of; where they were thrown is known, and finding it out costs a tenth of one. */
function withoutStack<T>(make: () => T): T {
  const usual = Error.stackTraceLimit
  Error.stackTraceLimit = 0
  try {
    return make()
  } finally {
    Error.stackTraceLimit = usual
  }
}
