import type { Outcome, PictureRequest } from './model-messages.ts'

export type PictureResult = Extract<Outcome, { type: 'done' }>['result']

/** One call of `index` or `analyse` on its way through the pool. */
export class PictureTask {
  readonly id: number
  readonly request: PictureRequest
  /** Time it has been running in a process; waiting behind others does not count. */
  ranMs = 0
  /** Processes that ended while it was running. */
  crashes = 0
  readonly #resolve: (result: PictureResult) => void
  readonly #reject: (reason: unknown) => void
  #stopListening = (): void => {}
  #settled = false

  constructor(
    id: number,
    request: PictureRequest,
    settle: { resolve(result: PictureResult): void; reject(reason: unknown): void },
  ) {
    this.id = id
    this.request = request
    this.#resolve = settle.resolve
    this.#reject = settle.reject
  }

  get isQuery(): boolean {
    return this.request.type === 'analyse'
  }

  get isSettled(): boolean {
    return this.#settled
  }

  /** Rejects with the signal's reason when it fires; `onAbort` is called after that. */
  abortWith(signal: AbortSignal, onAbort: () => void): void {
    const abort = () => {
      this.fail(signal.reason)
      onAbort()
    }
    if (signal.aborted) {
      abort()
      return
    }
    signal.addEventListener('abort', abort, { once: true })
    this.#stopListening = () => signal.removeEventListener('abort', abort)
  }

  finish(result: PictureResult): void {
    if (this.#settle()) this.#resolve(result)
  }

  fail(reason: unknown): void {
    if (this.#settle()) this.#reject(reason)
  }

  #settle(): boolean {
    if (this.#settled) return false
    this.#settled = true
    this.#stopListening()
    return true
  }
}
