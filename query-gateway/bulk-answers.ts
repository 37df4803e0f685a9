import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import { maxLineBytes } from '../schemas/http-items.ts'
import type { TraceHeaders } from '../schemas/trace-context.ts'
import type { CatalogIntake } from './catalog-intake.ts'
import { bulkEvent, type ItemEvent } from './item-event.ts'
import { LineSplitter, type ParsedLine } from './line-splitter.ts'
import { encodeReceipt } from './receipt.ts'

export interface BulkStream {
  readonly body: AsyncIterable<Buffer>
  readonly intake: CatalogIntake
  /** Of the request, carried along with each event. */
  readonly trace: TraceHeaders
  /** Aborts when the server drains: no more is read, what is in flight is answered, the answer ends. */
  readonly draining: AbortSignal
  /** Awaited between two batches: lets what is more urgent go first. */
  readonly calm: () => Promise<void>
}

type BulkEntry =
  | { readonly line: number; readonly event: ItemEvent }
  | { readonly line: number; readonly error: FreshetError }

/** A batch is parsed and encoded in one go on the thread that serves requests; this bounds it to a few milliseconds. */
const maxBatchLines = 256
/** Appends in flight: enough to hide the time of a durable write, few enough to bound memory. */
const maxBatchesInFlight = 4

/**
 * Answers of a bulk stream, in order of its lines, as chunks of NDJSON. Lazy on both sides: the body is read only
 * while fewer than four batches wait to be durable, and a batch's answers are handed out as soon as they are there,
 * also when the sender pauses. So a reader that is slow slows the sender, and memory stays constant.
 */
export async function* bulkAnswers(stream: BulkStream): AsyncGenerator<string, void, undefined> {
  const batches = batchesOf(stream)
  const inFlight: Promise<string>[] = []
  // Each read has a promise of its own that draining can settle: racing one that lives as long as the stream would
  // keep a reaction per batch. A read is raced before this generator is suspended, so its rejection is never unheard.
  let next: Promise<Arrival> | null = null
  let stopReading = (): void => undefined
  const read = (): Promise<Arrival> =>
    new Promise((resolve, reject) => {
      stopReading = () => resolve('draining')
      batches.next().then(resolve, reject)
    })
  const onDraining = (): void => stopReading()
  stream.draining.addEventListener('abort', onDraining)
  let ended = false
  try {
    for (;;) {
      const readsOn = !ended && !stream.draining.aborted
      if (readsOn && inFlight.length < maxBatchesInFlight) next ??= read()
      if (!next && inFlight.length === 0) return
      const first = inFlight.slice(0, 1).map(untilAnswered)
      const arrival: Arrival = await Promise.race(next ? [next, ...first] : first)
      if (arrival === 'answered') {
        yield await inFlight.shift()!
        continue
      }
      next = null
      if (arrival === 'draining' || arrival.done) ended = true
      else inFlight.push(answersOf(arrival.value, stream))
    }
  } finally {
    stream.draining.removeEventListener('abort', onDraining)
  }
}

type Arrival = IteratorResult<readonly BulkEntry[], void> | 'answered' | 'draining'

async function untilAnswered(answers: Promise<string>): Promise<'answered'> {
  await answers
  return 'answered'
}

async function* batchesOf({ body, intake, calm }: BulkStream): AsyncGenerator<readonly BulkEntry[], void, undefined> {
  const splitter = new LineSplitter(maxLineBytes)
  for await (const chunk of body) {
    let entries: BulkEntry[] = []
    for (const line of splitter.push(chunk)) {
      entries.push(entryOf(line, intake))
      if (entries.length < maxBatchLines) continue
      yield entries
      entries = []
      await calm()
    }
    if (entries.length === 0) continue
    yield entries
    await calm()
  }
  const last = splitter.end()
  if (last) yield [entryOf(last, intake)]
}

function entryOf(parsed: ParsedLine, intake: CatalogIntake): BulkEntry {
  if ('error' in parsed) return parsed
  const { line } = parsed
  try {
    const event = bulkEvent(parsed.value)
    const error = intake.refusal(event)
    return error ? { line, error } : { line, event }
  } catch (thrown) {
    return { line, error: asFreshetError(thrown) }
  }
}

/** Never rejects: when the append fails, each of its lines is told so. */
async function answersOf(entries: readonly BulkEntry[], { intake, trace }: BulkStream): Promise<string> {
  const events = entries.flatMap(entry => ('event' in entry ? [entry.event] : []))
  const outcome = events.length === 0 ? [] : await intake.append(events, trace).catch(asFreshetError)
  let text = ''
  let at = 0
  for (const entry of entries) {
    const accepted = 'event' in entry && !(outcome instanceof FreshetError) ? outcome[at++] : undefined
    if (accepted) text += `{"line":${entry.line},"receipt":"${encodeReceipt(accepted)}"}\n`
    else text += `${JSON.stringify({ line: entry.line, ...errorOf(entry, outcome).toBody() })}\n`
  }
  return text
}

function errorOf(entry: BulkEntry, outcome: unknown): FreshetError {
  return 'error' in entry ? entry.error : asFreshetError(outcome)
}
