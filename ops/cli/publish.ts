import { createReadStream } from 'node:fs'
import { createInterface } from 'node:readline'
import { Command } from 'commander'
import type { FreshetClient } from '../../schemas/client.ts'
import { asFreshetError, type ErrorCode, FreshetError } from '../../schemas/errors.ts'
import type { BulkLine } from '../../schemas/http-items.ts'
import { awaitReceipts } from '../await-receipts.ts'
import { asking, type CommandContext, clientFor, type ServerOptions } from './command-context.ts'
import { startProgressBar } from './progress-bar.ts'
import { printable } from './table.ts'

interface PublishOptions extends ServerOptions {
  readonly wait?: boolean
}

interface Publication {
  /** Durable in the catalog. */
  readonly published: number
  /** Not JSON, or refused by the server. */
  readonly refused: number
  /** Published, but their image work failed; counted with `--wait` only. */
  readonly failed: number
  readonly tookMs: number
}

export function publishCommand(context: CommandContext): Command {
  const command = new Command('publish')
    .summary('publish items from a file or from stdin')
    .description(
      'Publishes items, one JSON object a line: an item, {"upsert": item} or {"delete": {"itemId": …}}.\n' +
        'Lines that are refused are named, the others are published. Ends with 1 if any was refused or failed.',
    )
    .argument('<file>', 'file of lines, or - for stdin')
    .option('--wait', 'until every item is searchable, removed or has failed')
  return asking(command, 'freshet publish products.ndjson --wait\ncat products.ndjson | freshet publish -').action(
    async (file: string, options: PublishOptions) => {
      const publication = await new LinePublisher(context, options).publish(file)
      report(context, options, publication)
      context.exitWith(publication.refused + publication.failed === 0 ? 0 : 1)
    },
  )
}

function report({ terminal }: CommandContext, { json, wait }: PublishOptions, publication: Publication): void {
  const { published, refused, failed, tookMs } = publication
  const parts = [
    `${published} published`,
    ...(refused === 0 ? [] : [`${refused} refused`]),
    ...(wait ? [`${published - failed} searchable or removed`] : []),
    ...(failed === 0 ? [] : [`${failed} failed`]),
  ]
  terminal.print(json ? JSON.stringify(publication) : `${parts.join(', ')} in ${(tookMs / 1000).toFixed(1)} s`)
}

const namedAtMost = 20

/** Sends the lines of one file and counts what comes of them, by line number of the file. */
class LinePublisher {
  readonly #context: CommandContext
  readonly #options: PublishOptions
  readonly #client: FreshetClient
  /** Line numbers of what was sent and not yet answered: answers come in order. */
  readonly #unanswered: number[] = []
  readonly #receipts: string[] = []
  readonly #lineOfReceipt = new Map<string, number>()
  #published = 0
  #refused = 0
  #failed = 0
  #namedCount = 0
  /** Sentences kept back while a bar is drawn. */
  readonly #named: string[] = []
  /** A pipe may never end. */
  #namesAtOnce = false

  constructor(context: CommandContext, options: PublishOptions) {
    this.#context = context
    this.#options = options
    this.#client = clientFor(context, options)
  }

  async publish(file: string): Promise<Publication> {
    const startedMs = performance.now()
    const total = file === '-' ? null : await countLines(file)
    this.#namesAtOnce = total === null
    const bar = startProgressBar(this.#context.terminal, 'sent', total)
    try {
      for await (const answer of this.#client.bulk(this.#lines(file))) {
        const line = this.#unanswered.shift()!
        if ('error' in answer) this.#refuse(line, answer.error)
        else this.#accept(line, answer.receipt)
        bar.update(this.#published + this.#refused, this.#refused === 0 ? '' : `${this.#refused} refused`)
      }
    } finally {
      bar.stop()
      this.#tellNamed()
    }
    if (this.#options.wait) await this.#wait()
    this.#tellNamed()
    const tookMs = Math.round(performance.now() - startedMs)
    return { published: this.#published, refused: this.#refused, failed: this.#failed, tookMs }
  }

  /** A line that is not JSON is refused here and never sent; empty lines are skipped. */
  async *#lines(file: string): AsyncGenerator<BulkLine> {
    let line = 0
    for await (const text of linesOf(file)) {
      line++
      if (text.trim() === '') continue
      const parsed = parsedOrUndefined(text)
      if (parsed === undefined) this.#refuse(line, { code: 'bad-request', message: 'the line is not JSON' })
      else {
        this.#unanswered.push(line)
        yield parsed
      }
    }
  }

  #accept(line: number, receipt: string): void {
    this.#published++
    if (this.#options.wait) {
      this.#receipts.push(receipt)
      this.#lineOfReceipt.set(receipt, line)
    }
    if (this.#options.json) this.#context.terminal.print(JSON.stringify({ line, receipt }))
  }

  #refuse(line: number, error: LineError): void {
    this.#refused++
    this.#name(line, error)
  }

  #name(line: number, { code, message }: LineError): void {
    this.#namedCount++
    if (this.#options.json) this.#context.terminal.print(JSON.stringify({ line, error: { code, message } }))
    else if (this.#namedCount <= namedAtMost) this.#named.push(`line ${line}: ${printable(message)} (${code})`)
    else if (this.#namedCount === namedAtMost + 1) this.#named.push('further lines are counted only')
    if (this.#namesAtOnce) this.#tellNamed()
  }

  #tellNamed(): void {
    for (const sentence of this.#named.splice(0)) this.#context.terminal.note(sentence)
  }

  async #wait(): Promise<void> {
    const bar = startProgressBar(this.#context.terminal, 'settled', this.#receipts.length)
    const failed = await awaitReceipts(this.#client, this.#receipts, progress => {
      bar.update(progress.settled, progress.failed === 0 ? '' : `${progress.failed} failed`)
    }).finally(() => bar.stop())
    this.#failed = failed.length
    for (const { receipt, failure } of failed)
      this.#name(this.#lineOfReceipt.get(receipt)!, failure ?? { code: 'internal', message: 'failed without a cause' })
  }
}

interface LineError {
  readonly code: ErrorCode
  readonly message: string
}

async function countLines(file: string): Promise<number> {
  let count = 0
  for await (const text of linesOf(file)) if (text.trim() !== '') count++
  return count
}

async function* linesOf(file: string): AsyncGenerator<string> {
  const input = file === '-' ? process.stdin : createReadStream(file)
  try {
    yield* createInterface({ input, crlfDelay: Number.POSITIVE_INFINITY })
  } catch (cause) {
    throw new FreshetError('bad-request', `${file} cannot be read: ${asFreshetError(cause).message}`, { cause })
  }
}

/** The server checks the shape; here only that it is JSON. */
function parsedOrUndefined(text: string): BulkLine | undefined {
  try {
    return JSON.parse(text) as BulkLine
  } catch {
    return undefined
  }
}
