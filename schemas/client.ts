import { type BulkLines, decodeEvents, decodeLines, LineSource } from './client-streams.ts'
import { type Call, type CallOptions, type ClientOptions, ClientTransport } from './client-transport.ts'
import { FreshetError } from './errors.ts'
import type {
  BuildAnswer,
  BuildRequest,
  GenerationDetail,
  GenerationList,
  ModelList,
  ModelRequest,
  ProofLine,
  ProofRequest,
  RegisteredModel,
  ResumeRequest,
  RetireRequest,
  RollbackRequest,
  RouteRequest,
  StepAnswer,
  StepRequest,
} from './http-generations.ts'
import type { Accepted, BulkAnswer, Engagement, EngagementAccepted, Item, Receipt, StoredBlob } from './http-items.ts'
import type {
  BackupAnswer,
  DeadLetterDetail,
  DeadLetterList,
  Dropped,
  LiveEvent,
  Quality,
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

/** Answer when searchable, removed or superseded, or after `timeoutMs` with how far it got. */
export interface WaitOptions {
  readonly timeoutMs?: number
  readonly signal?: AbortSignal
}

/** A line of a run that takes long; an error is thrown instead. */
export type ProofProgress = Exclude<ProofLine, { readonly error: unknown }>

/** Of calls that wait for the server's own bound: what else they take. */
const besidesWaitMs = 10_000
const defaultWaitMs = 10_000

/**
 * The HTTP API as functions, in Node and, but for streams, in browsers. Every failure is a `FreshetError` with the
 * server's code; a server that cannot be reached, or that does not answer as Freshet does, is `not-ready` with the
 * cause kept; a call that took too long or was given up is `timeout`.
 *
 * What may pass (429, 5xx that say so, a lost connection) is tried again, with the pause the server asks for. A write
 * whose answer was lost is then sent twice: the item ends in the same state, unless another publisher of the same item
 * came between.
 */
export class FreshetClient {
  readonly #transport: ClientTransport

  constructor(options: ClientOptions) {
    this.#transport = new ClientTransport(options)
  }

  search(request: SearchRequest, options?: CallOptions): Promise<SearchAnswer> {
    return this.#transport.json('/v1/search', { json: request, options })
  }

  /** Search by a picture's bytes. */
  searchImage(image: Uint8Array, query: SearchQuery = {}, options?: CallOptions): Promise<SearchAnswer> {
    return this.#transport.json('/v1/search', { body: imageForm(image, query), method: 'POST', options })
  }

  detect(request: DetectRequest, options?: CallOptions): Promise<DetectAnswer> {
    return this.#transport.json('/v1/detect', { json: request, options })
  }

  detectImage(image: Uint8Array, query: DetectQuery = {}, options?: CallOptions): Promise<DetectAnswer> {
    return this.#transport.json('/v1/detect', { body: imageForm(image, query), method: 'POST', options })
  }

  item(itemId: string, query: { readonly generation?: string } = {}, options?: CallOptions): Promise<ItemState> {
    return this.#transport.json(itemPath(itemId), { query, options })
  }

  similar(itemId: string, query: SimilarQuery = {}, options?: CallOptions): Promise<SearchAnswer> {
    return this.#transport.json(`${itemPath(itemId)}/similar`, { query, options })
  }

  /** A stored picture of an item, by its place among the item's images. */
  itemImage(itemId: string, index = 0, options?: CallOptions): Promise<Uint8Array> {
    return this.#transport.call(`${itemPath(itemId)}/image`, { query: { index }, options }, bytesOf)
  }

  publish(item: Item, options?: CallOptions): Promise<Accepted> {
    return this.#transport.json(itemPath(item.itemId), { method: 'PUT', json: item, options })
  }

  /** @throws FreshetError with the code of the failed image work; details hold the receipt */
  publishAndWait(item: Item, options: WaitOptions = {}): Promise<Receipt> {
    return this.#transport.json(itemPath(item.itemId), { method: 'PUT', json: item, ...waiting(options) })
  }

  delete(itemId: string, options?: CallOptions): Promise<Accepted> {
    return this.#transport.json(itemPath(itemId), { method: 'DELETE', options })
  }

  deleteAndWait(itemId: string, options: WaitOptions = {}): Promise<Receipt> {
    return this.#transport.json(itemPath(itemId), { method: 'DELETE', ...waiting(options) })
  }

  /**
   * Publishes a stream of lines of any length; yields an answer per line, in order. Answers arrive while lines are
   * being sent, and the server pauses reading while they are not taken: consume them as they come. It is never sent
   * again by itself: after a failure, or for a line whose error is retryable, send what has no receipt yet.
   */
  async *bulk(lines: BulkLines, signal?: AbortSignal): AsyncGenerator<BulkAnswer, void, undefined> {
    const source = new LineSource(lines)
    const headers = { 'content-type': 'application/x-ndjson' }
    let answered = 0
    try {
      const body = await this.#stream('/v1/items', { method: 'POST', body: source.chunks(), headers }, signal)
      for await (const answer of decodeLines<BulkAnswer>(body)) {
        answered++
        yield answer
      }
    } catch (thrown) {
      if (source.failure) throw source.failure.cause
      throw streamFailure(thrown, signal)
    }
    source.requireAnswered(answered)
  }

  receipt(receipt: string, options?: CallOptions): Promise<Receipt> {
    return this.#transport.json(`/v1/receipts/${encodeURIComponent(receipt)}`, { options })
  }

  putBlob(image: Uint8Array | AsyncIterable<Uint8Array>, options?: CallOptions): Promise<StoredBlob> {
    const headers = { 'content-type': 'application/octet-stream' }
    const isWhole = image instanceof Uint8Array
    const body = isWhole ? bodyOf(image) : image
    const repeat = isWhole ? 'passing' : 'never'
    return this.#transport.json('/v1/blobs', { method: 'PUT', body, headers, repeat, options })
  }

  /** The stored picture. */
  blob(reference: string, options?: CallOptions): Promise<Uint8Array> {
    return this.#transport.call(
      `/v1/blobs/${encodeURIComponent(reference.replace(/^blob:/, ''))}`,
      { options },
      bytesOf,
    )
  }

  engage(engagements: readonly Engagement[], options?: CallOptions): Promise<EngagementAccepted> {
    return this.#transport.json('/v1/engagements', { json: { engagements }, options })
  }

  status(options?: CallOptions): Promise<Status> {
    return this.#transport.json('/v1/status', { options })
  }

  /** How the searches of each generation went, of the last half hour, on the gateway that answers. */
  quality(options?: CallOptions): Promise<Quality> {
    return this.#transport.json('/v1/quality', { options })
  }

  /** The state, and the items last made searchable, once a second until the signal aborts or the server ends. */
  async *events(signal?: AbortSignal): AsyncGenerator<LiveEvent, void, undefined> {
    try {
      yield* decodeEvents(await this.#stream('/v1/events', {}, signal))
    } catch (thrown) {
      throw streamFailure(thrown, signal)
    }
  }

  /** Prometheus text. */
  metrics(options?: CallOptions): Promise<string> {
    return this.#transport.call('/metrics', { options }, response => response.text())
  }

  /** Resolves when the process answers. */
  async alive(options?: CallOptions): Promise<void> {
    await this.#transport.json('/healthz', { options })
  }

  /** Resolves when the server may be sent requests. @throws FreshetError `not-ready` */
  async ready(options?: CallOptions): Promise<void> {
    await this.#transport.json('/readyz', { options })
  }

  deadLetters(
    page: { readonly after?: string; readonly limit?: number } = {},
    options?: CallOptions,
  ): Promise<DeadLetterList> {
    return this.#transport.json('/v1/admin/dead-letters', { query: page, options })
  }

  deadLetter(id: string, options?: CallOptions): Promise<DeadLetterDetail> {
    return this.#transport.json(deadLetterPath(id), { options })
  }

  redriveDeadLetter(id: string, options?: CallOptions): Promise<Redriven> {
    return this.#transport.json(`${deadLetterPath(id)}/redrive`, { method: 'POST', repeat: 'refused', options })
  }

  dropDeadLetter(id: string, options?: CallOptions): Promise<Dropped> {
    return this.#transport.json(deadLetterPath(id), { method: 'DELETE', repeat: 'refused', options })
  }

  models(options?: CallOptions): Promise<ModelList> {
    return this.#transport.json('/v1/admin/models', { options })
  }

  registerModel(request: ModelRequest, options?: CallOptions): Promise<RegisteredModel> {
    return this.#transport.json('/v1/admin/models', { json: request, repeat: 'refused', options })
  }

  generations(options?: CallOptions): Promise<GenerationList> {
    return this.#transport.json('/v1/admin/generations', { options })
  }

  generation(id: string, options?: CallOptions): Promise<GenerationDetail> {
    return this.#transport.json(generationPath(id), { options })
  }

  /** With `dryRun` only the estimate, for which a picture may be embedded. */
  buildGeneration(request: BuildRequest, options?: CallOptions): Promise<BuildAnswer> {
    return this.#transport.json('/v1/admin/generations', { json: request, ...longWrite, options })
  }

  pauseGeneration(id: string, request: StepRequest, options?: CallOptions): Promise<StepAnswer> {
    return this.#step(id, 'pause', request, options)
  }

  resumeGeneration(id: string, request: ResumeRequest, options?: CallOptions): Promise<StepAnswer> {
    return this.#step(id, 'resume', request, options)
  }

  routeGeneration(id: string, request: RouteRequest, options?: CallOptions): Promise<StepAnswer> {
    return this.#step(id, 'route', request, options)
  }

  rollbackGeneration(id: string, request: RollbackRequest, options?: CallOptions): Promise<StepAnswer> {
    return this.#step(id, 'rollback', request, options)
  }

  retireGeneration(id: string, request: RetireRequest, options?: CallOptions): Promise<StepAnswer> {
    return this.#step(id, 'retire', request, options)
  }

  /**
   * Lines of progress and at last the result: a verdict that is no is one too. Takes as long as it takes; given up by the
   * signal, or by ending the loop, it leaves nothing.
   */
  verifyGeneration(id: string, request: ProofRequest, signal?: AbortSignal): AsyncGenerator<ProofProgress, void> {
    return this.#prove(`${generationPath(id)}/verify`, request, signal)
  }

  /** As `verifyGeneration`. */
  canaryGeneration(id: string, request: ProofRequest, signal?: AbortSignal): AsyncGenerator<ProofProgress, void> {
    return this.#prove(`${generationPath(id)}/canary`, request, signal)
  }

  /** The evidence as it was recorded: its SHA-256 is the digest. */
  evidence(id: string, digest: string, options?: CallOptions): Promise<string> {
    const path = `${generationPath(id)}/evidence/${encodeURIComponent(digest)}`
    return this.#transport.call(path, { options }, response => response.text())
  }

  /** Copies the data directory while serving; `directory` is a path on the server's machine. */
  backup(directory: string, options?: CallOptions): Promise<BackupAnswer> {
    return this.#transport.json('/v1/admin/backup', { json: { directory }, ...longWrite, options })
  }

  /** Writes a snapshot of every shard, or of one, while serving; `directory` is a path on the server's machine. */
  snapshot(request: SnapshotRequest, options?: CallOptions): Promise<SnapshotAnswer> {
    return this.#transport.json('/v1/admin/snapshots', { json: request, ...longWrite, options })
  }

  #step(id: string, step: string, request: object, options: CallOptions | undefined): Promise<StepAnswer> {
    return this.#transport.json(`${generationPath(id)}/${step}`, { json: request, repeat: 'refused', options })
  }

  async *#prove(
    path: string,
    request: ProofRequest,
    signal: AbortSignal | undefined,
  ): AsyncGenerator<ProofProgress, void> {
    try {
      for await (const line of decodeLines<ProofLine>(await this.#stream(path, { json: request }, signal))) {
        if ('error' in line)
          throw new FreshetError(line.error.code, line.error.message, { details: line.error.details })
        yield line
        if ('result' in line) return
      }
    } catch (thrown) {
      throw streamFailure(thrown, signal)
    }
    throw new FreshetError('not-ready', 'the server ended the stream without a result')
  }

  /** The body as it comes. */
  #stream(path: string, call: Call, signal: AbortSignal | undefined): Promise<AsyncIterable<Uint8Array>> {
    const options = signal === undefined ? undefined : { signal }
    const whole = { ...call, repeat: 'never', timeoutMs: null, options } as const
    return this.#transport.call(path, whole, async ({ body }) => body ?? emptyBody())
  }
}

/** Done twice it would fail, or do it twice, and it may take long. */
const longWrite = { repeat: 'refused', timeoutMs: null } as const

async function bytesOf(response: Response): Promise<Uint8Array> {
  return new Uint8Array(await response.arrayBuffer())
}

async function* emptyBody(): AsyncGenerator<Uint8Array> {}

function streamFailure(thrown: unknown, signal: AbortSignal | undefined): FreshetError {
  if (thrown instanceof FreshetError) return thrown
  if (signal?.aborted) return new FreshetError('timeout', 'the call was given up', { cause: thrown })
  return new FreshetError('not-ready', 'the server broke off the stream', { cause: thrown })
}

const itemPath = (itemId: string): string => `/v1/items/${encodeURIComponent(itemId)}`
const deadLetterPath = (id: string): string => `/v1/admin/dead-letters/${encodeURIComponent(id)}`

const generationPath = (id: string): string => `/v1/admin/generations/${encodeURIComponent(id)}`

function waiting({ timeoutMs, signal }: WaitOptions): Pick<Call, 'query' | 'timeoutMs' | 'options'> {
  return {
    query: { wait: 'searchable', timeoutMs },
    timeoutMs: (timeoutMs ?? defaultWaitMs) + besidesWaitMs,
    options: signal === undefined ? undefined : { signal },
  }
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
