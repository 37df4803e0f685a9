import { asFreshetError, type ErrorBody, FreshetError, isErrorCode } from './errors.ts'

export interface ClientOptions {
  /** Such as `http://127.0.0.1:7480`. */
  readonly baseUrl: string
  /** Sent as `Authorization: Bearer`, where the server asks who calls. */
  readonly apiKey?: string
  /** Global fetch when left out. */
  readonly fetch?: typeof fetch
  /**
   * Longest time of a call with all its attempts and pauses: 30,000 when left out. Not of bulk and event streams,
   * backups and snapshots, which take as long as they take.
   */
  readonly timeoutMs?: number
  /** Attempts of a call, the first included: 3 when left out, 1 to leave repetition to the caller. */
  readonly attempts?: number
  /** Waits between attempts, no longer than until the signal aborts. A timer when left out. */
  readonly pause?: (ms: number, signal: AbortSignal | null) => Promise<void>
}

/** Of one call, instead of what the client was made with. */
export interface CallOptions {
  /** Gives the call up: it rejects with code `timeout`. */
  readonly signal?: AbortSignal
  readonly timeoutMs?: number
  readonly attempts?: number
}

/**
 * When a failed call is made again: whenever the failure may pass (the operation may be done twice with the same end);
 * only when the server said that it did not begin; or never (what was sent is gone).
 */
export type Repeat = 'passing' | 'refused' | 'never'

export interface Call {
  readonly method?: string
  readonly query?: Readonly<Record<string, string | number | boolean | undefined>>
  readonly json?: unknown
  readonly body?: Uint8Array<ArrayBuffer> | FormData | AsyncIterable<Uint8Array>
  readonly headers?: Readonly<Record<string, string>>
  readonly options?: CallOptions | undefined
  /** `passing` when left out. */
  readonly repeat?: Repeat
  /** That of the operation instead of the client's; null: no bound. */
  readonly timeoutMs?: number | null
}

interface Failure {
  readonly error: FreshetError
  /** HTTP status; null when no answer came, or not all of it. */
  readonly status: number | null
  readonly retryAfterMs: number | null
}

type Outcome<T> = { readonly value: T } | { readonly failure: Failure }

const defaultTimeoutMs = 30_000
const defaultAttempts = 3
const firstPauseMs = 100
const longestPauseMs = 2_000
const tooManyRequests = 429
const unavailable = 503

/** HTTP calls with a bound on their time, repetition of what may pass, and failures as `FreshetError`. */
export class ClientTransport {
  readonly #options: ClientOptions
  readonly #baseUrl: string
  readonly #pause: NonNullable<ClientOptions['pause']>

  constructor(options: ClientOptions) {
    this.#options = options
    this.#baseUrl = options.baseUrl.replace(/\/+$/, '')
    this.#pause = options.pause ?? timerPause
  }

  /** The JSON of the answer. @throws FreshetError the server's; `timeout`; `not-ready` when no Freshet server answers */
  json<T>(path: string, call: Call = {}): Promise<T> {
    return this.call(path, call, async response => (await response.json()) as T)
  }

  /** What `read` makes of the answer; it is called for answers of success only. @throws FreshetError as `json` */
  async call<T>(path: string, call: Call, read: (response: Response) => Promise<T>): Promise<T> {
    const timeoutMs = this.#timeoutOf(call)
    const signal = signalOf(call.options?.signal, timeoutMs)
    const beganAt = performance.now()
    const attempts = call.options?.attempts ?? this.#options.attempts ?? defaultAttempts
    for (let attempt = 1; ; attempt++) {
      const outcome = await this.#attempt(path, call, signal, read)
      if ('value' in outcome) return outcome.value
      if (signal?.aborted) throw givenUp(call, timeoutMs)
      const { failure } = outcome
      if (attempt >= attempts || !mayRepeat(failure, call)) throw failure.error
      const pauseMs = Math.max(failure.retryAfterMs ?? 0, backoffMs(attempt))
      const isTooLate = timeoutMs !== null && performance.now() - beganAt + pauseMs >= timeoutMs
      if (isTooLate) throw failure.error
      await this.#pause(pauseMs, signal)
      if (signal?.aborted) throw givenUp(call, timeoutMs)
    }
  }

  #timeoutOf(call: Call): number | null {
    if (call.options?.timeoutMs !== undefined) return call.options.timeoutMs
    return call.timeoutMs === undefined ? (this.#options.timeoutMs ?? defaultTimeoutMs) : call.timeoutMs
  }

  async #attempt<T>(
    path: string,
    call: Call,
    signal: AbortSignal | null,
    read: (response: Response) => Promise<T>,
  ): Promise<Outcome<T>> {
    const fetchNow = this.#options.fetch ?? fetch
    let status: number | null = null
    try {
      const response = await fetchNow(this.#url(path, call.query), this.#init(call, signal))
      if (!response.ok) return { failure: await failureOf(response) }
      status = response.status
      return { value: await read(response) }
    } catch (thrown) {
      return { failure: this.#unanswered(thrown, status) }
    }
  }

  /** Nothing came, the answer broke off, or it is of a kind that Freshet does not give. */
  #unanswered(cause: unknown, status: number | null): Failure {
    const at = this.#baseUrl
    if (cause instanceof SyntaxError)
      return { error: new FreshetError('not-ready', `${at} answers as no Freshet server`, { cause }), status, ...plain }
    const what = status === null ? `no Freshet server answers at ${at}` : `the server at ${at} broke off its answer`
    return { error: new FreshetError('not-ready', what, { cause }), status: null, ...plain }
  }

  #url(path: string, query: Call['query'] = {}): string {
    const search = new URLSearchParams()
    for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value))
    return `${this.#baseUrl}${path}${search.size === 0 ? '' : `?${search}`}`
  }

  #init(call: Call, signal: AbortSignal | null): RequestInit {
    const { json, body, method = json === undefined ? 'GET' : 'POST' } = call
    const { apiKey } = this.#options
    const headers: Record<string, string> = { ...call.headers }
    if (apiKey !== undefined) headers.authorization = `Bearer ${apiKey}`
    if (json !== undefined) headers['content-type'] = 'application/json'
    return {
      method,
      headers,
      ...(signal === null ? {} : { signal }),
      ...(json === undefined ? {} : { body: JSON.stringify(json) }),
      ...(body === undefined ? {} : { body, duplex: 'half' as const }),
    }
  }
}

const plain = { retryAfterMs: null } as const

function signalOf(given: AbortSignal | undefined, timeoutMs: number | null): AbortSignal | null {
  if (timeoutMs === null) return given ?? null
  const timeout = AbortSignal.timeout(timeoutMs)
  return given === undefined ? timeout : AbortSignal.any([given, timeout])
}

function givenUp({ options }: Call, timeoutMs: number | null): FreshetError {
  const signal = options?.signal
  if (signal?.aborted) return new FreshetError('timeout', 'the call was given up', { cause: signal.reason })
  return new FreshetError('timeout', `there was no whole answer within ${timeoutMs} ms`)
}

/** Image work that failed (422) goes on by itself where it may: the call is not made again for it. */
function mayRepeat({ error, status }: Failure, { repeat = 'passing' }: Call): boolean {
  if (repeat === 'never' || !error.retryable) return false
  if (status === tooManyRequests || status === unavailable) return true
  return repeat === 'passing' && (status === null || status >= 500)
}

/** Exponential, and spread, so that callers that were refused together do not come back together. */
function backoffMs(attempt: number): number {
  return Math.min(longestPauseMs, firstPauseMs * 2 ** (attempt - 1)) * (0.5 + Math.random())
}

async function failureOf(response: Response): Promise<Failure> {
  const { status } = response
  return { error: errorOf(status, await response.text()), status, retryAfterMs: retryAfterMs(response) }
}

function errorOf(status: number, text: string): FreshetError {
  try {
    const { code, message, retryable, details } = (JSON.parse(text) as ErrorBody).error
    if (isErrorCode(code)) return new FreshetError(code, message, { details })
    // A newer server: whether the call can succeed later is kept, and the code told.
    return new FreshetError(retryable ? 'not-ready' : 'bad-request', `${message} (${code})`, {
      details: { code, details },
    })
  } catch (thrown) {
    const cause = asFreshetError(thrown)
    return new FreshetError('not-ready', `the server answered ${status} with no Freshet error`, { cause })
  }
}

/** Seconds, or a date. */
function retryAfterMs({ headers }: Response): number | null {
  const value = headers.get('retry-after')
  if (value === null) return null
  const seconds = Number(value)
  const ms = Number.isNaN(seconds) ? Date.parse(value) - Date.now() : seconds * 1_000
  return Number.isNaN(ms) ? null : Math.max(0, ms)
}

function timerPause(ms: number, signal: AbortSignal | null): Promise<void> {
  return new Promise(resolve => {
    const done = (): void => {
      clearTimeout(timer)
      signal?.removeEventListener('abort', done)
      resolve()
    }
    const timer = setTimeout(done, ms)
    signal?.addEventListener('abort', done)
  })
}
