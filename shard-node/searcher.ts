import { Worker } from 'node:worker_threads'
import { FreshetError } from '../schemas/errors.ts'
import type { SearchCallName, SearchCalls, SearchReply, SearchThreadData } from './search-messages.ts'

interface Waiting {
  receive(answer: SearchCalls[SearchCallName]['answer']): void
  fail(error: FreshetError): void
}

const closed = new FreshetError('not-ready', 'the shard is closed')

/**
 * The owner's end of the search thread. Answers are handed over in the order the thread gave them, each before the
 * next one is looked at: what the owner knows in a `receive` is what the thread knew when it answered.
 */
export class Searcher {
  /** Resolves when the thread has died; everything still waiting, and every later call, fails with that error. */
  readonly failed: Promise<FreshetError>
  readonly #worker: Worker
  readonly #waiting = new Map<number, Waiting>()
  readonly #ended: Promise<void>
  #lastId = 0
  #failure: FreshetError | null = null
  #closing = false
  #reportFailure: (error: FreshetError) => void = () => undefined

  constructor(data: SearchThreadData) {
    this.failed = new Promise(resolve => {
      this.#reportFailure = resolve
    })
    this.#worker = new Worker(new URL('./search-thread.ts', import.meta.url), { workerData: data })
    this.#worker.on('message', (reply: SearchReply) => this.#receive(reply))
    this.#worker.on('error', cause => this.#fail(new FreshetError('internal', 'the search thread failed', { cause })))
    this.#ended = new Promise(resolve => {
      this.#worker.on('exit', code => {
        if (!this.#closing) this.#fail(new FreshetError('internal', `the search thread ended with ${code}`))
        resolve()
      })
    })
  }

  /** Resolves with what `receive` makes of the answer, called the moment it arrives. */
  ask<Name extends SearchCallName, Result>(
    name: Name,
    request: SearchCalls[Name]['request'],
    receive: (answer: SearchCalls[Name]['answer']) => Result,
  ): Promise<Result> {
    return new Promise((resolve, reject) => {
      this.#send(name, request, {
        receive: answer => {
          try {
            resolve(receive(answer as SearchCalls[Name]['answer']))
          } catch (thrown) {
            reject(thrown)
          }
        },
        fail: reject,
      })
    })
  }

  /** As `ask`, without a promise; when the request fails, the thread counts as failed. */
  post<Name extends SearchCallName>(
    name: Name,
    request: SearchCalls[Name]['request'],
    receive: (answer: SearchCalls[Name]['answer']) => void,
  ): void {
    this.#send(name, request, {
      receive: answer => receive(answer as SearchCalls[Name]['answer']),
      fail: error => this.#fail(error),
    })
  }

  /**
   * Answers what was asked before, then ends the thread from within. It is never terminated from outside: a thread
   * stopped inside a call of the graph library aborts the whole process (an exception of the binding that nobody
   * catches). For the same reason, close before `process.exit()`.
   */
  async close(): Promise<void> {
    if (!this.#closing) this.#worker.postMessage({ id: ++this.#lastId, name: 'close', request: null })
    this.#closing = true
    await this.#ended
    this.#fail(closed)
  }

  #send(name: SearchCallName, request: SearchCalls[SearchCallName]['request'], waiting: Waiting): void {
    const refusal = this.#failure ?? (this.#closing ? closed : null)
    if (refusal !== null) {
      waiting.fail(refusal)
      return
    }
    const id = ++this.#lastId
    this.#waiting.set(id, waiting)
    this.#worker.postMessage({ id, name, request })
  }

  #receive(reply: SearchReply): void {
    const waiting = this.#waiting.get(reply.id)
    if (waiting === undefined) return
    this.#waiting.delete(reply.id)
    if ('error' in reply) waiting.fail(new FreshetError(reply.error.code, reply.error.message))
    else waiting.receive(reply.answer)
  }

  #fail(error: FreshetError): void {
    if (this.#failure !== null) return
    this.#failure = error
    if (!this.#closing) this.#reportFailure(error)
    for (const waiting of this.#waiting.values()) waiting.fail(error)
    this.#waiting.clear()
  }
}
