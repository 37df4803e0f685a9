import { Worker } from 'node:worker_threads'
import { FreshetError } from '../../schemas/errors.ts'
import type { SegmentView } from '../segments/segment.ts'
import type { IndexAnswer } from '../vector-index.ts'
import { answersFrom } from './answer-numbers.ts'
import type { Audit, SearchReply, SearchRequest, SearchThreadData, Snapshot, WireQuery } from './search-messages.ts'

export interface SearchLinkEvents {
  /** Of one query sent with `audit`, unless it failed. */
  readonly onAudit: (audit: Audit) => void
  /** Once: the thread has died, or a layout could not be opened. All that waits has been refused. */
  readonly onFailure: (error: FreshetError) => void
}

/** Who waits for the answers to a message; exactly one of the two is called, once. */
export interface AnswersWaiting {
  receive(answers: readonly IndexAnswer[]): void
  refuse(error: FreshetError): void
}

/** A message sent and not answered. */
interface Outstanding {
  readonly queries: number
  readonly audits: number
  readonly waiting: AnswersWaiting
}

const closed = new FreshetError('not-ready', 'the index is closed')

/** The owner's end of one search thread. */
export class SearchLink {
  readonly #events: SearchLinkEvents
  readonly #worker: Worker
  readonly #ended: Promise<void>
  readonly #searches = new Map<number, Outstanding>()
  readonly #layouts = new Map<number, PromiseWithResolvers<void>>()
  #lastId = 0
  #queries = 0
  #audits = 0
  #failure: FreshetError | null = null
  #closing = false

  constructor(data: SearchThreadData, events: SearchLinkEvents) {
    this.#events = events
    this.#worker = new Worker(new URL('./search-thread.ts', import.meta.url), { workerData: data })
    this.#worker.on('message', (reply: SearchReply) => this.#receive(reply))
    this.#worker.on('error', cause => this.#fail(new FreshetError('internal', 'a search thread failed', { cause })))
    this.#ended = new Promise(resolve => {
      this.#worker.on('exit', code => {
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
    this.#post({ type: 'layout', id, segments })
    return laidOut.promise
  }

  search(snapshot: Snapshot, queries: readonly WireQuery[], waiting: AnswersWaiting): void {
    if (this.#refusal !== null) {
      waiting.refuse(this.#refusal)
      return
    }
    const id = ++this.#lastId
    const audits = queries.reduce((sum, query) => sum + (query.audit ? 1 : 0), 0)
    this.#searches.set(id, { queries: queries.length, audits, waiting })
    this.#queries += queries.length
    this.#audits += audits
    this.#post({ type: 'search', id, snapshot, queries })
  }

  /**
   * Answers what was asked before, but for exact queries, then ends the thread from within. It is never terminated
   * from outside: a thread stopped inside a call of the graph library aborts the whole process (an exception of the
   * binding that nobody catches). For the same reason, close before `process.exit()`.
   */
  async close(): Promise<void> {
    if (!this.#closing) this.#post({ type: 'close' })
    this.#closing = true
    await this.#ended
    this.#fail(closed)
  }

  get #refusal(): FreshetError | null {
    return this.#failure ?? (this.#closing ? closed : null)
  }

  #post(request: SearchRequest): void {
    this.#worker.postMessage(request)
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
    this.#searches.clear()
    this.#layouts.clear()
    this.#queries = 0
    this.#audits = 0
    for (const { waiting } of searches) waiting.refuse(error)
    for (const { reject } of layouts) reject(error)
    if (!this.#closing) this.#events.onFailure(error)
  }
}
