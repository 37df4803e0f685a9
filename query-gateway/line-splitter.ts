import { isUtf8 } from 'node:buffer'
import { FreshetError } from '../schemas/errors.ts'

/** One line of a stream: its number from 1, and its JSON value or why there is none. */
export type ParsedLine =
  | { readonly line: number; readonly value: unknown }
  | { readonly line: number; readonly error: FreshetError }

const newline = 10

/**
 * Cuts a stream of chunks into lines and parses them. Holds at most one unfinished line; a line over the limit is
 * dropped as it comes and reported where it ends. Blank lines count but give nothing.
 */
export class LineSplitter {
  readonly #maxLineBytes: number
  #rest: Uint8Array[] = []
  #restBytes = 0
  #line = 0

  constructor(maxLineBytes: number) {
    this.#maxLineBytes = maxLineBytes
  }

  /** Lines that end in this chunk. */
  *push(chunk: Buffer): Generator<ParsedLine> {
    let start = 0
    for (let end = chunk.indexOf(newline); end !== -1; end = chunk.indexOf(newline, start)) {
      const line = this.#finish(chunk.subarray(start, end))
      if (line) yield line
      start = end + 1
    }
    this.#keep(chunk.subarray(start))
  }

  /** The last line of a stream that ended properly, which needs no newline. */
  end(): ParsedLine | null {
    return this.#restBytes === 0 ? null : this.#finish(Buffer.alloc(0))
  }

  #keep(part: Uint8Array): void {
    this.#restBytes += part.length
    if (this.#restBytes <= this.#maxLineBytes) this.#rest.push(part)
    else this.#rest = []
  }

  #finish(part: Buffer): ParsedLine | null {
    const lineBytes = this.#restBytes + part.length
    const bytes = this.#rest.length === 0 ? part : Buffer.concat([...this.#rest, part])
    this.#rest = []
    this.#restBytes = 0
    const line = ++this.#line
    if (lineBytes > this.#maxLineBytes) {
      const message = `line ${line} has ${lineBytes} bytes, the limit is ${this.#maxLineBytes}`
      return { line, error: new FreshetError('body-too-large', message) }
    }
    return parseLine(bytes, line)
  }
}

function parseLine(bytes: Buffer, line: number): ParsedLine | null {
  if (!isUtf8(bytes)) return { line, error: new FreshetError('bad-request', `line ${line} is not valid UTF-8`) }
  const text = bytes.toString('utf8')
  if (text.trim() === '') return null
  try {
    return { line, value: JSON.parse(text) }
  } catch (thrown) {
    return { line, error: new FreshetError('bad-request', `line ${line} is not valid JSON`, { cause: thrown }) }
  }
}
