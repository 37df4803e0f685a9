import { Worker } from 'node:worker_threads'
import { FreshetError } from '../../schemas/errors.ts'
import { NumberMap } from '../../schemas/number-map.ts'
import type { SegmentView } from '../segments/segment.ts'
import type { IndexAnswer } from '../vector-index.ts'
import { answersFrom } from './answer-numbers.ts'
import type { Bell } from './bell.ts'
import { QueryRing, type RingQuery } from './query-ring.ts'
import type { Audit, SearchReply, SearchRequest, SearchThreadData, Snapshot, WireQuery } from './search-messages.ts'

export interface SearchLinkEvents {
  /** Of one query sent with `audit`, unless it failed. */
  readonly onAudit: (audit: Audit) => void
  /** Once: the thread has died, or a layout could not be opened. All that waits has been refused. */
  readonly onFailure: (error: FreshetError) => void
}

/** Who waits for the answers to a request; exactly one of the two is called, once. */
export interface AnswersWaiting {
  /** Nobody waits any more. */
  readonly isOver: boolean
  receive(answers: readonly IndexAnswer[]): void
  refuse(error: FreshetError): void
}

/** Queries sent together and not answered. */
interface Outstanding {
  readonly queries: number
  readonly audits: number
  readonly waiting: AnswersWaiting
}

/** What waits until the ring has room. */
type Request = SearchRequest | ({ readonly type: 'query' } & RingQuery)

export interface SearchLinkOptions extends Omit<SearchThreadData, 'ring' | 'bell'> {
  /** Rung when there are answers to take. */
  readonly bell: Bell
  /** What the thread runs, for tests that make it fail; `search-thread.ts` if not given. */
  readonly program?: URL
}

const searchThread = new URL('./search-thread.ts', import.meta.url)
const closed = new FreshetError('not-ready', 'the index is closed')

/** The owner's end of one search thread. */
export class SearchLink {
  readonly #events: SearchLinkEvents
  readonly #worker: Worker
  readonly #ended: Promise<void>
  readonly #ring: QueryRing
  readonly #unsent: Request[] = []
  readonly #searches = new NumberMap<Outstanding>()
  readonly #layouts = new Map<number, PromiseWithResolvers<void>>()
  #lastId = 0
  #queries = 0
  #audits = 0
  #failure: FreshetError | null = null
  #closing = false

  constructor({ program = searchThread, bell, ...options }: SearchLinkOptions, events: SearchLinkEvents) {
    this.#events = events
    this.#ring = QueryRing.create(options.dims)
    const workerData: SearchThreadData = { ...options, ring: this.#ring.memory, bell: bell.memory }
    this.#worker = new Worker(program, { workerData })
    this.#worker.on('message', (reply: SearchReply) => {
      // What the thread left in slots before it sent this is told before it, though the bell may come later.
      this.takeAnswers()
      this.#receive(reply)
    })
    this.#worker.on('error', cause => this.#fail(new FreshetError('internal', 'a search thread failed', { cause })))
    this.#ended = new Promise(resolve => {
      this.#worker.on('exit', code => {
        this.takeAnswers()
        if (!this.#closing) this.#fail(new FreshetError('internal', `a search thread ended with ${code}`))
        resolve()
      })
    })
  }

  /** Queries sent and not answered. */
  get queries(): number {
    return this.#queries
  }

  /** Audits asked for and not done. */
  get audits(): number {
    return this.#audits
  }

  /** Resolves when the thread has the layout's segments open. Its failure is the thread's. */
  layOut(segments: readonly SegmentView[]): Promise<void> {
    const laidOut = Promise.withResolvers<void>()
    if (this.#refusal !== null) {
      laidOut.reject(this.#refusal)
      return laidOut.promise
    }
    const id = ++this.#lastId
    this.#layouts.set(id, laidOut)
    this.#send({ type: 'layout', id, segments })
    return laidOut.promise
  }

  /** Whether the query can be sent by itself at little cost: `ask`. */
  fits(query: WireQuery): boolean {
    return this.#ring.fits(query)
  }

  /** A query that fits. */
  ask(snapshot: Snapshot, query: WireQuery, waiting: AnswersWaiting): void {
    const id = this.#expect([query], waiting)
    if (id !== null) this.#send({ type: 'query', id, snapshot, query })
  }

  /** Any queries, in one message. */
  search(snapshot: Snapshot, queries: readonly WireQuery[], waiting: AnswersWaiting): void {
    const id = this.#expect(queries, waiting)
    if (id !== null) this.#send({ type: 'search', id, snapshot, queries })
  }

  /** When the bell has been rung. */
  takeAnswers(): void {
    this.#ring.takeAnswers((id, answer) => this.#settle(id)?.waiting.receive([answer]))
    this.#sendMore()
  }

  /**
   * Answers what was asked before, but for exact queries, then ends the thread from within. It is never terminated
   * from outside: a thread stopped inside a call of the graph library aborts the whole process (an exception of the
   * binding that nobody catches). For the same reason, close before `process.exit()`.
   */
  async close(): Promise<void> {
    if (!this.#closing) this.#send({ type: 'close', id: ++this.#lastId })
    this.#closing = true
    await this.#ended
    this.#fail(closed)
  }

  get #refusal(): FreshetError | null {
    return this.#failure ?? (this.#closing ? closed : null)
  }

  /** Null: refused already. */
  #expect(queries: readonly WireQuery[], waiting: AnswersWaiting): number | null {
    if (this.#refusal !== null) {
      waiting.refuse(this.#refusal)
      return null
    }
    const id = ++this.#lastId
    const audits = queries.reduce((sum, query) => sum + (query.audit ? 1 : 0), 0)
    this.#searches.set(id, { queries: queries.length, audits, waiting })
    this.#queries += queries.length
    this.#audits += audits
    return id
  }

  #send(request: Request): void {
    this.#unsent.push(request)
    this.#sendMore()
  }

  /** As many as there is room for, in order; but for those that were given up meanwhile. */
  #sendMore(): void {
    while (this.#unsent.length > 0 && this.#ring.hasRoom) {
      const request = this.#unsent.shift()!
      if (!this.#dropGivenUp(request.id)) this.#post(request)
    }
  }

  #dropGivenUp(id: number): boolean {
    const search = this.#searches.get(id)
    if (search?.waiting.isOver !== true) return false
    this.#settle(id)
    this.#audits -= search.audits
    return true
  }

  #post(request: Request): void {
    if (request.type === 'query') {
      this.#ring.postQuery(request)
      return
    }
    this.#worker.postMessage(request)
    this.#ring.postMessage()
  }

  #receive(reply: SearchReply): void {
    switch (reply.type) {
      case 'answers':
        this.#settle(reply.id)?.waiting.receive(answersFrom(reply.answers))
        break
      case 'laidOut':
        this.#layouts.get(reply.id)?.resolve()
        this.#layouts.delete(reply.id)
        break
      case 'failed':
        this.#refuse(reply.id, new FreshetError(reply.code, reply.message))
        break
      case 'audited':
        this.#audits--
        this.#events.onAudit({ recall: reply.recall, effort: reply.effort, cpuMs: reply.cpuMs })
        break
    }
  }

  /** A layout that cannot be opened leaves the thread without rows that searches must see: nothing can be asked of it. */
  #refuse(id: number, error: FreshetError): void {
    if (this.#layouts.has(id)) {
      this.#fail(error)
      return
    }
    const search = this.#settle(id)
    this.#audits -= search?.audits ?? 1
    search?.waiting.refuse(error)
  }

  #settle(id: number): Outstanding | undefined {
    const search = this.#searches.get(id)
    if (search === undefined) return undefined
    this.#searches.delete(id)
    this.#queries -= search.queries
    return search
  }

  #fail(error: FreshetError): void {
    if (this.#failure !== null) return
    this.#failure = error
    const searches = [...this.#searches.values()]
    const layouts = [...this.#layouts.values()]
    this.#unsent.length = 0
    this.#searches.clear()
    this.#layouts.clear()
    this.#queries = 0
    this.#audits = 0
    for (const { waiting } of searches) waiting.refuse(error)
    for (const { reject } of layouts) reject(error)
    if (!this.#closing) this.#events.onFailure(error)
  }
}
