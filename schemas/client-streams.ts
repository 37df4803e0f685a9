import { FreshetError } from './errors.ts'
import type { BulkLine } from './http-items.ts'
import type { LiveEvent } from './http-operations.ts'

const bulkChunkBytes = 64 * 1024

export type BulkLines = AsyncIterable<BulkLine> | Iterable<BulkLine>

/** The caller's lines as bytes to send; keeps what the caller's own source threw apart from what the connection did. */
export class LineSource {
  failure: { readonly cause: unknown } | null = null
  readonly #lines: BulkLines
  #taken = 0
  #isSpent = false

  constructor(lines: BulkLines) {
    this.#lines = lines
  }

  async *chunks(): AsyncGenerator<Uint8Array> {
    try {
      yield* this.#encoded()
      this.#isSpent = true
    } catch (thrown) {
      this.failure = { cause: thrown }
      throw thrown
    }
  }

  /** @throws FreshetError `not-ready` when the server ended its answer before it had answered every line */
  requireAnswered(answered: number): void {
    if (this.#isSpent && answered === this.#taken) return
    throw new FreshetError(
      'not-ready',
      `the server ended the bulk stream after line ${answered}; what became of later lines is not known: send them again`,
      { details: { answered } },
    )
  }

  /** Whole chunks while lines come quickly; what there is as soon as the source pauses, so that a live pipe is not held up. */
  async *#encoded(): AsyncGenerator<Uint8Array> {
    const lines = this.#lines
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
        this.#taken++
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
}

const pause = Symbol('pause')
/** Browsers have timers only. */
const soon: (then: () => void) => void = globalThis.setImmediate ?? (then => setTimeout(then, 0))

async function isSlow(next: Promise<unknown>): Promise<boolean> {
  const pausing = new Promise(resolve => soon(() => resolve(pause)))
  return (await Promise.race([next, pausing])) === pause
}

/** Each line of NDJSON. */
export async function* decodeLines<Line>(body: AsyncIterable<Uint8Array>): AsyncGenerator<Line> {
  for await (const line of textsBetween(body, '\n')) yield JSON.parse(line) as Line
}

/** The data of each `status` event of a stream of Server-Sent Events. */
export async function* decodeEvents(body: AsyncIterable<Uint8Array>): AsyncGenerator<LiveEvent> {
  for await (const event of textsBetween(body, '\n\n')) {
    const fields = event.split('\n').map(line => line.split(/: ?(.*)/s, 2) as [string, string?])
    const isStatus = fields.some(([name, value]) => name === 'event' && value === 'status')
    const data = fields.flatMap(([name, value]) => (name === 'data' ? [value ?? ''] : []))
    if (isStatus) yield JSON.parse(data.join('\n')) as LiveEvent
  }
}

/** What each separator ends; what comes after the last one is not whole, and dropped. */
async function* textsBetween(body: AsyncIterable<Uint8Array>, separator: string): AsyncGenerator<string> {
  const decoder = new TextDecoder()
  let rest = ''
  for await (const chunk of body) {
    const texts = (rest + decoder.decode(chunk, { stream: true })).split(separator)
    rest = texts.pop()!
    yield* texts
  }
}
