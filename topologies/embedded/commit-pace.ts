/** While the event loop has no free moment, a transaction begins so long after the last, unless so many writes wait. */
const longestGapMs = 50
const manyWrites = 64
/** Of the time since the last transaction began; with less the loop has no free moment. */
const freeShare = 0.1
const lookAgainMs = 5

export interface CommitPaceOptions {
  /** Monotonic, ms. */
  readonly now: () => number
  /** Time that the event loop had nothing to do, since any moment before the first call, ms. */
  readonly idleMs: () => number
}

/**
 * When the next transaction begins. Each one wakes those who wait for it and those who read the log, and what they do
 * costs about as much for one record as for several: where the event loop has nothing left to give, records that come
 * one by one took a fifth from the searches beside them (`npm run bench -- under-ingest`). Then writes wait for others
 * to share a transaction with. As soon as the loop has a free moment, nobody waits.
 */
export class CommitPace {
  readonly #now: () => number
  readonly #idleMs: () => number
  #beganAt = Number.NEGATIVE_INFINITY
  #idleAtBegin = 0

  constructor({ now, idleMs }: CommitPaceOptions = eventLoop) {
    this.#now = now
    this.#idleMs = idleMs
  }

  began(): void {
    this.#beganAt = this.#now()
    this.#idleAtBegin = this.#idleMs()
  }

  /** Ms after which to ask again; 0: the transaction may begin. */
  waitMs(writes: number): number {
    const passedMs = this.#now() - this.#beganAt
    const isFree = this.#idleMs() - this.#idleAtBegin > freeShare * passedMs
    return isFree || passedMs >= longestGapMs || writes >= manyWrites ? 0 : lookAgainMs
  }
}

const eventLoop: CommitPaceOptions = {
  now: () => performance.now(),
  idleMs: () => performance.nodeTiming.idleTime,
}
