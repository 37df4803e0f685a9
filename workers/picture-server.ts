import { readFile } from 'node:fs/promises'
import { setImmediate as nextTurn } from 'node:timers/promises'
import { FreshetError } from '../schemas/errors.ts'
import type { ImageBytes } from '../schemas/image-analysis.ts'
import type { BarePipeline } from './bare-pipeline.ts'
import {
  type FromModelProcess,
  type Outcome,
  type PictureRequest,
  type ToModelProcess,
  toSentError,
} from './model-messages.ts'

export type PicturePipeline = Pick<BarePipeline, 'index' | 'analyse'>

/**
 * The inside of a model process. Opens the pipeline, says `ready` or `refused`, then answers requests until its parent
 * goes away. It ignores SIGINT and SIGTERM, which a terminal or a supervisor sends to the whole group: the parent
 * drains first and decides when its children end.
 */
export async function servePictures(open: () => Promise<PicturePipeline>): Promise<void> {
  process.on('disconnect', () => process.exit(0))
  process.on('SIGINT', () => {})
  process.on('SIGTERM', () => {})
  const send = (message: FromModelProcess) => process.send?.(message)
  try {
    const server = new PictureServer(await open(), send)
    process.on('message', (message: ToModelProcess) => server.accept(message))
    send({ type: 'ready' })
  } catch (thrown) {
    const refused: FromModelProcess = { type: 'refused', error: toSentError(thrown) }
    process.send?.(refused, () => process.exit(1))
  }
}

type IndexRequest = Extract<PictureRequest, { type: 'index' }>
type AnalyseRequest = Extract<PictureRequest, { type: 'analyse' }>

/**
 * Queries start at once; indexing pictures run one after the other, and none of their steps begins while a query is
 * here. A model run blocks this thread, so a query waits for one step at most; a decode runs on another thread and
 * holds no query up, however long it takes.
 */
class PictureServer {
  readonly #pipeline: PicturePipeline
  readonly #send: (message: FromModelProcess) => void
  readonly #indexing: { readonly id: number; readonly request: IndexRequest }[] = []
  readonly #cancelled = new Set<number>()
  #isIndexing = false
  #queries = 0
  #wakeIndexing: (() => void) | null = null

  constructor(pipeline: PicturePipeline, send: (message: FromModelProcess) => void) {
    this.#pipeline = pipeline
    this.#send = send
  }

  accept(message: ToModelProcess): void {
    switch (message.type) {
      case 'cancel':
        this.#cancelled.add(message.id)
        return
      case 'work':
        this.#work(message.id, message.request)
    }
  }

  #work(id: number, request: PictureRequest): void {
    if (request.type === 'analyse') {
      void this.#query(id, request)
      return
    }
    this.#indexing.push({ id, request })
    if (!this.#isIndexing) void this.#indexAll()
  }

  async #query(id: number, request: AnalyseRequest): Promise<void> {
    this.#queries++
    await this.#answer(id, async () => {
      const bytes = await readImage(request.image)
      return this.#pipeline.analyse(bytes, request.selection, async () => this.#refuseCancelled(id))
    })
    this.#queries--
    if (this.#queries === 0) this.#wakeIndexing?.()
  }

  async #indexAll(): Promise<void> {
    this.#isIndexing = true
    for (let next = this.#indexing.shift(); next !== undefined; next = this.#indexing.shift()) {
      const { id, request } = next
      await this.#answer(id, async () => {
        await this.#letQueriesPass(id)
        const bytes = await readImage(request.image)
        return this.#pipeline.index(bytes, request.digest, () => this.#letQueriesPass(id))
      })
    }
    this.#isIndexing = false
  }

  async #letQueriesPass(id: number): Promise<void> {
    // The turn of the event loop reads messages that came during the last step.
    await nextTurn()
    while (this.#queries > 0) {
      await new Promise<void>(resolve => {
        this.#wakeIndexing = resolve
      })
    }
    this.#refuseCancelled(id)
  }

  #refuseCancelled(id: number): void {
    if (this.#cancelled.has(id)) throw new FreshetError('timeout', 'the caller went away')
  }

  async #answer(id: number, run: () => Promise<Extract<Outcome, { type: 'done' }>['result']>): Promise<void> {
    const outcome = await run().then(
      (result): Outcome => ({ type: 'done', result }),
      (thrown): Outcome => ({ type: 'failed', error: toSentError(thrown) }),
    )
    this.#cancelled.delete(id)
    this.#send({ type: 'answer', id, rssBytes: process.memoryUsage.rss(), outcome })
  }
}

async function readImage(image: ImageBytes): Promise<Uint8Array> {
  if ('bytes' in image) return image.bytes
  return readFile(image.path).catch((cause: NodeJS.ErrnoException) => {
    const missing = cause.code === 'ENOENT'
    throw new FreshetError(missing ? 'blob-not-found' : 'storage-failed', `the stored image: ${cause.message}`, {
      cause,
    })
  })
}
