import { asFreshetError, type ErrorBody, FreshetError, isErrorCode } from './errors.ts'
import type {
  Accepted,
  BulkAnswer,
  BulkLine,
  Engagement,
  EngagementAccepted,
  Item,
  Receipt,
  StoredBlob,
} from './http-items.ts'
import type {
  BackupAnswer,
  DeadLetterDetail,
  DeadLetterList,
  Dropped,
  GenerationList,
  ModelList,
  Redriven,
  SnapshotAnswer,
  SnapshotRequest,
  Status,
} from './http-operations.ts'
import type {
  DetectAnswer,
  DetectQuery,
  DetectRequest,
  ItemState,
  SearchAnswer,
  SearchQuery,
  SearchRequest,
  SimilarQuery,
} from './http-search.ts'

export interface ClientOptions {
  /** Such as `http://127.0.0.1:7480`. */
  readonly baseUrl: string
  /** Global fetch when left out. */
  readonly fetch?: typeof fetch
}

/** Answer when searchable, removed or superseded, or after `timeoutMs` with how far it got. */
export interface WaitOptions {
  readonly timeoutMs?: number
}

interface Call {
  readonly method?: string
  readonly query?: Readonly<Record<string, string | number | undefined>>
  readonly json?: unknown
  readonly body?: Uint8Array<ArrayBuffer> | FormData | AsyncIterable<Uint8Array>
  readonly headers?: Readonly<Record<string, string>>
  readonly signal?: AbortSignal | undefined
}

/**
 * The HTTP API as functions. Every failure is a `FreshetError` with the server's code; a server that cannot be
 * reached, or that does not answer as Freshet does, is `not-ready` with the cause kept.
 */
export class FreshetClient {
  readonly #baseUrl: string
  readonly #fetch: typeof fetch

  constructor(options: ClientOptions) {
    this.#baseUrl = options.baseUrl.replace(/\/+$/, '')
    this.#fetch = options.fetch ?? fetch
  }

  search(request: SearchRequest, signal?: AbortSignal): Promise<SearchAnswer> {
    return this.#json('/v1/search', { json: request, signal })
  }

  /** Search by a picture's bytes. */
  searchImage(image: Uint8Array, query: SearchQuery = {}, signal?: AbortSignal): Promise<SearchAnswer> {
    return this.#json('/v1/search', { body: imageForm(image, query), method: 'POST', signal })
  }

  detect(request: DetectRequest, signal?: AbortSignal): Promise<DetectAnswer> {
    return this.#json('/v1/detect', { json: request, signal })
  }

  detectImage(image: Uint8Array, query: DetectQuery = {}, signal?: AbortSignal): Promise<DetectAnswer> {
    return this.#json('/v1/detect', { body: imageForm(image, query), method: 'POST', signal })
  }

  item(itemId: string): Promise<ItemState> {
    return this.#json(itemPath(itemId))
  }

  similar(itemId: string, query: SimilarQuery = {}): Promise<SearchAnswer> {
    return this.#json(`${itemPath(itemId)}/similar`, { query })
  }

  async publish(item: Item): Promise<Accepted> {
    return this.#json(itemPath(item.itemId), { method: 'PUT', json: item })
  }

  /** @throws FreshetError with the code of the failed image work; details hold the receipt */
  async publishAndWait(item: Item, options: WaitOptions = {}): Promise<Receipt> {
    return this.#json(itemPath(item.itemId), { method: 'PUT', json: item, query: waiting(options) })
  }

  delete(itemId: string): Promise<Accepted> {
    return this.#json(itemPath(itemId), { method: 'DELETE' })
  }

  deleteAndWait(itemId: string, options: WaitOptions = {}): Promise<Receipt> {
    return this.#json(itemPath(itemId), { method: 'DELETE', query: waiting(options) })
  }

  /**
   * Publishes a stream of lines of any length; yields an answer per line, in order. Answers arrive while lines are
   * being sent, and the server pauses reading while they are not taken: consume them as they come.
   */
  async *bulk(
    lines: AsyncIterable<BulkLine> | Iterable<BulkLine>,
    signal?: AbortSignal,
  ): AsyncGenerator<BulkAnswer, void, undefined> {
    const source = new LineSource(lines)
    try {
      const response = await this.#call('/v1/items', {
        method: 'POST',
        body: source.chunks(),
        headers: { 'content-type': 'application/x-ndjson' },
        signal,
      })
      if (response.body) yield* decodeLines(response.body)
    } catch (thrown) {
      if (source.failure) throw source.failure.cause
      if (thrown instanceof FreshetError) throw thrown
      throw new FreshetError('not-ready', 'the server broke off the bulk stream', { cause: thrown })
    }
  }

  receipt(receipt: string): Promise<Receipt> {
    return this.#json(`/v1/receipts/${encodeURIComponent(receipt)}`)
  }

  status(signal?: AbortSignal): Promise<Status> {
    return this.#json('/v1/status', { signal })
  }

  putBlob(image: Uint8Array | AsyncIterable<Uint8Array>): Promise<StoredBlob> {
    const body = image instanceof Uint8Array ? bodyOf(image) : image
    return this.#json('/v1/blobs', { method: 'PUT', body, headers: { 'content-type': 'application/octet-stream' } })
  }

  /** The stored picture. */
  async blob(reference: string): Promise<Uint8Array> {
    const response = await this.#call(`/v1/blobs/${encodeURIComponent(reference.replace(/^blob:/, ''))}`, {})
    return new Uint8Array(await response.arrayBuffer())
  }

  engage(engagements: readonly Engagement[]): Promise<EngagementAccepted> {
    return this.#json('/v1/engagements', { json: { engagements } })
  }

  deadLetters(page: { readonly after?: string; readonly limit?: number } = {}): Promise<DeadLetterList> {
    return this.#json('/v1/admin/dead-letters', { query: page })
  }

  deadLetter(id: string): Promise<DeadLetterDetail> {
    return this.#json(deadLetterPath(id))
  }

  redriveDeadLetter(id: string): Promise<Redriven> {
    return this.#json(`${deadLetterPath(id)}/redrive`, { method: 'POST' })
  }

  dropDeadLetter(id: string): Promise<Dropped> {
    return this.#json(deadLetterPath(id), { method: 'DELETE' })
  }

  models(): Promise<ModelList> {
    return this.#json('/v1/admin/models')
  }

  generations(): Promise<GenerationList> {
    return this.#json('/v1/admin/generations')
  }

  /** Copies the data directory while serving; `directory` is a path on the server's machine. */
  backup(directory: string): Promise<BackupAnswer> {
    return this.#json('/v1/admin/backup', { json: { directory } })
  }

  /** Writes a snapshot of every shard, or of one, while serving; `directory` is a path on the server's machine. */
  snapshot(request: SnapshotRequest): Promise<SnapshotAnswer> {
    return this.#json('/v1/admin/snapshots', { json: request })
  }

  async #json<T>(path: string, call: Call = {}): Promise<T> {
    const response = await this.#call(path, call)
    return (await response.json()) as T
  }

  async #call(path: string, call: Call): Promise<Response> {
    let response: Response
    try {
      response = await this.#fetch(this.#url(path, call.query), requestInit(call))
    } catch (thrown) {
      if (call.signal?.aborted) throw new FreshetError('timeout', 'the call was given up', { cause: thrown })
      throw new FreshetError('not-ready', `no Freshet server answers at ${this.#baseUrl}`, { cause: thrown })
    }
    if (!response.ok) throw await failureOf(response)
    return response
  }

  #url(path: string, query: Call['query'] = {}): string {
    const search = new URLSearchParams()
    for (const [name, value] of Object.entries(query)) if (value !== undefined) search.set(name, String(value))
    return `${this.#baseUrl}${path}${search.size === 0 ? '' : `?${search}`}`
  }
}

function requestInit(call: Call): RequestInit {
  const init: RequestInit = { method: call.method ?? (call.json === undefined ? 'GET' : 'POST') }
  if (call.signal) init.signal = call.signal
  if (call.headers) init.headers = call.headers
  if (call.json !== undefined) {
    init.body = JSON.stringify(call.json)
    init.headers = { ...call.headers, 'content-type': 'application/json' }
  } else if (call.body !== undefined) {
    init.body = call.body
    init.duplex = 'half'
  }
  return init
}

async function failureOf(response: Response): Promise<FreshetError> {
  const text = await response.text()
  try {
    const { error } = JSON.parse(text) as ErrorBody
    if (isErrorCode(error.code)) return new FreshetError(error.code, error.message, { details: error.details })
  } catch (thrown) {
    const cause = asFreshetError(thrown)
    return new FreshetError('not-ready', `the server answered ${response.status} with no Freshet error`, { cause })
  }
  return new FreshetError('internal', `the server answered ${response.status} with a code this client does not know`)
}

const itemPath = (itemId: string): string => `/v1/items/${encodeURIComponent(itemId)}`
const deadLetterPath = (id: string): string => `/v1/admin/dead-letters/${encodeURIComponent(id)}`

function waiting(options: WaitOptions): { readonly wait: string; readonly timeoutMs: number | undefined } {
  return { wait: 'searchable', timeoutMs: options.timeoutMs }
}

/** A view into a shared buffer is copied: `Blob` and `fetch` take plain buffers only. */
function bodyOf(bytes: Uint8Array): Uint8Array<ArrayBuffer> {
  return bytes.buffer instanceof ArrayBuffer ? (bytes as Uint8Array<ArrayBuffer>) : new Uint8Array(bytes)
}

function imageForm(image: Uint8Array, query: object): FormData {
  const form = new FormData()
  form.append('query', JSON.stringify(query))
  form.append('image', new Blob([bodyOf(image)]), 'image')
  return form
}

const bulkChunkBytes = 64 * 1024

/** The caller's lines as bytes to send; keeps what the caller's own source threw apart from what the connection did. */
class LineSource {
  failure: { readonly cause: unknown } | null = null
  readonly #lines: AsyncIterable<BulkLine> | Iterable<BulkLine>

  constructor(lines: AsyncIterable<BulkLine> | Iterable<BulkLine>) {
    this.#lines = lines
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    try {
      yield* encodeLines(this.#lines)
    } catch (thrown) {
      this.failure = { cause: thrown }
      throw thrown
    }
  }
}

/** Whole chunks while lines come quickly; what there is as soon as the source pauses, so that a live pipe is not held up. */
async function* encodeLines(lines: AsyncIterable<BulkLine> | Iterable<BulkLine>): AsyncGenerator<Uint8Array> {
  const encoder = new TextEncoder()
  const source = Symbol.asyncIterator in lines ? lines[Symbol.asyncIterator]() : lines[Symbol.iterator]()
  let text = ''
  try {
    for (;;) {
      const next = source.next()
      if (text !== '' && next instanceof Promise && (await isSlow(next))) {
        yield encoder.encode(text)
        text = ''
      }
      const { value, done } = await next
      if (done) break
      text += `${JSON.stringify(value)}\n`
      if (text.length < bulkChunkBytes) continue
      yield encoder.encode(text)
      text = ''
    }
    if (text !== '') yield encoder.encode(text)
  } finally {
    await source.return?.()
  }
}

const pause = Symbol('pause')

async function isSlow(next: Promise<unknown>): Promise<boolean> {
  const pausing = new Promise(resolve => setImmediate(resolve, pause))
  return (await Promise.race([next, pausing])) === pause
}

async function* decodeLines(body: AsyncIterable<Uint8Array>): AsyncGenerator<BulkAnswer> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of body) {
    const lines = (rest + decoder.decode(chunk, { stream: true })).split('\n')
    rest = lines.pop()!
    for (const line of lines) yield JSON.parse(line) as BulkAnswer
  }
}
