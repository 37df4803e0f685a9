import type { FreshetError } from '../../schemas/errors.ts'
import type { SegmentView } from '../segments/segment.ts'
import type { IndexAnswer } from '../vector-index.ts'
import { Bell } from './bell.ts'
import { type AnswersWaiting, SearchLink, type SearchLinkEvents } from './search-link.ts'
import type { Snapshot, WireQuery } from './search-messages.ts'

export interface SearchPoolOptions extends Omit<SearchLinkEvents, 'onFailure'> {
  readonly dims: number
  /** At least 1, and as many as every segment's memory was made for. */
  readonly threads: number
  /** Tie keys by item number, over a growable SharedArrayBuffer. */
  readonly ties: Uint32Array
  /** What the threads run, for tests that make them fail. */
  readonly program?: URL
}

/**
 * Most queries in one message, of those that have to be messages. These cost about 20 µs of both threads together, whatever is in them; but the first
 * query of a message is told only with the last, and a thread that has one message alone is idle while the owner
 * reads the answers.
 */
const queriesPerMessage = 4

/** A query of a call, not sent yet. */
interface PendingQuery {
  readonly call: SearchCall
  /** Which of the call's. */
  readonly index: number
  readonly query: WireQuery
  readonly snapshot: Snapshot
}

/** The owner's side of the search threads: each has all segments open and answers whole queries. */
export class SearchPool {
  /**
   * Resolves when a thread has died or could not open a layout: what it had to answer fails with this, and so does
   * every later call.
   */
  readonly failed: Promise<FreshetError>
  readonly #links: readonly SearchLink[]
  readonly #bell = new Bell()
  #pending: PendingQuery[] = []
  #failure: FreshetError | null = null
  #isClosed = false

  constructor({ threads, onAudit, ...options }: SearchPoolOptions) {
    const failed = Promise.withResolvers<FreshetError>()
    this.failed = failed.promise
    const onFailure = (error: FreshetError): void => {
      this.#failure ??= error
      failed.resolve(error)
    }
    const events = { onAudit, onFailure }
    const bell = this.#bell
    this.#links = Array.from({ length: threads }, (_, thread) => new SearchLink({ ...options, thread, bell }, events))
    void this.#listen()
  }

  /** Queries and audits asked for and not answered: while there are none, no thread reads the rows of any segment. */
  get inFlight(): number {
    return this.#links.reduce((sum, link) => sum + link.queries + link.audits, this.#pending.length)
  }

  /**
   * Segments for the searches that follow; the last one is being written when its order is `log`. Resolves when all
   * threads have opened them and have done the searches before, but for exact ones and audits, which keep the segments
   * they began with. Rejects when a thread cannot: then the pool has failed.
   */
  async setLayout(segments: readonly SegmentView[]): Promise<void> {
    this.#send()
    if (this.#failure !== null) throw this.#failure
    await Promise.all(this.#links.map(link => link.layOut(segments)))
  }

  /**
   * As many answers, in order, as of the snapshot. Rejects with the signal's reason when it fires first, with
   * FreshetError `not-ready` once closed, and with what the threads report: a failure of storage.
   */
  search(snapshot: Snapshot, queries: readonly WireQuery[], signal?: AbortSignal): Promise<readonly IndexAnswer[]> {
    if (signal?.aborted) return Promise.reject(signal.reason)
    if (this.#failure !== null) return Promise.reject(this.#failure)
    if (queries.length === 0) return Promise.resolve([])
    const call = new SearchCall(queries.length, signal)
    for (const [index, query] of queries.entries()) this.#ask({ call, index, query, snapshot })
    return call.answers
  }

  /** Answers what was asked before, but for exact queries, and ends the threads. */
  async close(): Promise<void> {
    this.#send()
    await Promise.all(this.#links.map(link => link.close()))
    this.#isClosed = true
    this.#bell.ring()
  }

  async #listen(): Promise<void> {
    while (!this.#isClosed) {
      this.#bell.set()
      for (const link of this.#links) link.takeAnswers()
      await this.#bell.wait()
    }
  }

  #ask(pending: PendingQuery): void {
    const { query, snapshot } = pending
    const link = this.#leastBusy()
    if (link.fits(query)) {
      link.ask(snapshot, query, new CallsWaiting([pending]))
      return
    }
    if (this.#pending.length === 0) process.nextTick(() => this.#send())
    this.#pending.push({ ...pending, query: sendable(query) })
  }

  #leastBusy(): SearchLink {
    return this.#links.reduce((least, next) => (next.queries < least.queries ? next : least))
  }

  /** Everything asked in this turn of the event loop: in few messages, spread over the threads. */
  #send(): void {
    const pending = this.#pending.filter(({ call }) => !call.isOver)
    this.#pending = []
    const atMost = Math.min(queriesPerMessage, Math.ceil(pending.length / this.#links.length))
    for (let from = 0; from < pending.length; ) {
      const first = pending[from]!
      let to = from + 1
      while (to < pending.length && to - from < atMost && fitTogether(first, pending[to]!)) to++
      this.#post(pending.slice(from, to))
      from = to
    }
  }

  #post(message: readonly PendingQuery[]): void {
    const queries = message.map(({ query }) => query)
    this.#leastBusy().search(message[0]!.snapshot, queries, new CallsWaiting(message))
  }
}

/** The calls that queries sent together belong to. */
class CallsWaiting implements AnswersWaiting {
  readonly #queries: readonly PendingQuery[]

  constructor(queries: readonly PendingQuery[]) {
    this.#queries = queries
  }

  get isOver(): boolean {
    return this.#queries.every(({ call }) => call.isOver)
  }

  receive(answers: readonly IndexAnswer[]): void {
    this.#queries.forEach(({ call, index }, i) => {
      call.receive(index, answers[i]!)
    })
  }

  refuse(error: FreshetError): void {
    for (const { call } of this.#queries) call.refuse(error)
  }
}

/** One call of `search`, until all of its answers are there. */
class SearchCall {
  readonly answers: Promise<readonly IndexAnswer[]>
  readonly #answers: IndexAnswer[]
  readonly #result = Promise.withResolvers<readonly IndexAnswer[]>()
  readonly #signal: AbortSignal | undefined
  readonly #onAbort = (): void => this.refuse(this.#signal?.reason)
  #missing: number
  #isOver = false

  constructor(queries: number, signal: AbortSignal | undefined) {
    this.answers = this.#result.promise
    this.#answers = new Array<IndexAnswer>(queries)
    this.#missing = queries
    this.#signal = signal
    signal?.addEventListener('abort', this.#onAbort)
  }

  get isOver(): boolean {
    return this.#isOver
  }

  receive(index: number, answer: IndexAnswer): void {
    this.#answers[index] = answer
    if (--this.#missing > 0 || this.#isOver) return
    this.#end()
    this.#result.resolve(this.#answers)
  }

  refuse(reason: unknown): void {
    if (this.#isOver) return
    this.#end()
    this.#result.reject(reason)
  }

  #end(): void {
    this.#isOver = true
    this.#signal?.removeEventListener('abort', this.#onAbort)
  }
}

/** An exact query goes alone: those sent with it would wait for it. */
function fitTogether(first: PendingQuery, next: PendingQuery): boolean {
  const { sequence, logRows } = first.snapshot
  const isOfOneMoment = next.snapshot.sequence === sequence && next.snapshot.logRows === logRows
  return isOfOneMoment && !first.query.exact && !next.query.exact
}

/** A view of a larger buffer would take all of it to the thread; the recall of an exact answer is known. */
function sendable(query: WireQuery): WireQuery {
  const { vector, exact, audit } = query
  const isWhole = vector.byteLength === vector.buffer.byteLength
  if (isWhole && !(exact && audit)) return query
  return { ...query, vector: isWhole ? vector : vector.slice(), audit: audit && !exact }
}
