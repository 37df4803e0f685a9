import { type DeadLetter, deadLetterId } from '../schemas/dead-letter.ts'
import { asFreshetError, FreshetError } from '../schemas/errors.ts'
import { asOffset, asPartition, type Offset, type Partition } from '../schemas/ids.ts'
import type { RecordCodec } from '../schemas/record-codec.ts'
import { deadLetterTopic } from '../schemas/topics.ts'
import type { RedriveOutcome } from './dispatch/dispatch-state.ts'
import type { EventLog, LogRecord } from './event-log.ts'
import type { KeyValueStore } from './key-value-store.ts'

export type LetterHandling = 'redriven' | 'dropped'

export interface StoredLetter {
  readonly id: string
  readonly appendedAtMs: number
  readonly letter: DeadLetter
  /** What an operator did about it; null while it is open. */
  readonly handled: LetterHandling | null
}

export interface LetterPage {
  readonly letters: readonly StoredLetter[]
  /** Pass as `after` for the older ones; null at the end. */
  readonly next: string | null
}

export interface DeadLetterPorts {
  readonly log: EventLog
  /** Keeps what was handled, under `dead-letter:<id>`. */
  readonly store: KeyValueStore
  readonly codec: RecordCodec<DeadLetter>
  /** The dispatcher of the letter's generation. @throws FreshetError `bad-request` when the letter holds no job */
  readonly redrive: (letter: DeadLetter) => Promise<RedriveOutcome>
}

/** The dead-letter topic as an operator sees it: newest first, open until redriven or dropped. */
export class DeadLetters {
  readonly #ports: DeadLetterPorts

  constructor(ports: DeadLetterPorts) {
    this.#ports = ports
  }

  /** Open letters, newest first. @throws FreshetError `bad-request` for an `after` that `list` did not give */
  async list(options: {
    readonly limit: number
    readonly after?: string
    readonly includeHandled?: boolean
  }): Promise<LetterPage> {
    const { limit, after, includeHandled = false } = options
    const offsets = await this.#ports.log.offsets(deadLetterTopic)
    const bounds = after === undefined ? null : parseCursor(after)
    const tails = Array.from(
      offsets,
      ([partition, { start, end }]) =>
        new PartitionTail(this.#ports.log, {
          partition,
          start,
          end: bounds === null ? end : asOffset(Math.min(end, bounds.get(partition) ?? start)),
        }),
    )
    const letters: StoredLetter[] = []
    let newest = await newestOf(tails)
    while (letters.length < limit && newest) {
      const stored = await this.#stored(newest.record)
      newest.tail.pop()
      if (includeHandled || stored.handled === null) letters.push(stored)
      newest = await newestOf(tails)
    }
    return { letters, next: newest ? formatCursor(tails) : null }
  }

  /** @throws FreshetError `dead-letter-not-found` */
  async show(id: string): Promise<StoredLetter> {
    const { partition, offset } = parseId(id)
    const { start, end } = (await this.#ports.log.offsets(deadLetterTopic)).get(partition) ?? { start: 0, end: 0 }
    if (offset < start || offset >= end) throw notFound(id)
    const record = await readOne(this.#ports.log, partition, offset)
    if (record?.offset !== offset) throw notFound(id)
    return this.#stored(record)
  }

  /** @throws FreshetError `dead-letter-not-found` */
  async markHandled(id: string, handling: LetterHandling): Promise<void> {
    await this.show(id)
    await this.#ports.store.write([{ key: handledKey(id), value: Buffer.from(handling) }])
  }

  /**
   * Tries the letter's image work again at its original version. What has become pointless is dropped; what belongs
   * to another generation or life of the topic stays open.
   * @throws FreshetError `dead-letter-not-found` | `bad-request` | `not-ready`
   */
  async redrive(id: string): Promise<RedriveOutcome> {
    const { letter } = await this.show(id)
    const outcome = await this.#ports.redrive(letter)
    if (outcome !== 'foreign') await this.markHandled(id, outcome === 'queued' ? 'redriven' : 'dropped')
    return outcome
  }

  async #stored(record: LogRecord): Promise<StoredLetter> {
    const { codec, store } = this.#ports
    const id = deadLetterId(record.partition, record.offset)
    if (record.value === null) throw notFound(id)
    await codec.learn(record.value)
    const handled = store.get(handledKey(id))
    return {
      id,
      appendedAtMs: record.appendTimeMs,
      letter: codec.decode(record.value),
      handled: handled === undefined ? null : handlingOf(handled),
    }
  }
}

/** Reads a partition backwards, a stretch at a time. */
class PartitionTail {
  readonly partition: Partition
  readonly #log: EventLog
  readonly #start: Offset
  /** Records not given yet lie below. */
  #end: Offset
  #stretch: LogRecord[] = []
  /** Where the stretch began; below lies what was not read. */
  #readTo: Offset

  constructor(log: EventLog, range: { readonly partition: Partition; readonly start: Offset; readonly end: Offset }) {
    this.#log = log
    this.partition = range.partition
    this.#start = range.start
    this.#end = range.end
    this.#readTo = range.end
  }

  get end(): Offset {
    return this.#end
  }

  async newest(): Promise<LogRecord | undefined> {
    while (this.#stretch.length === 0 && this.#readTo > this.#start) {
      const from = asOffset(Math.max(this.#start, this.#readTo - stretchOffsets))
      this.#stretch = await readRange(this.#log, { partition: this.partition, from, end: this.#readTo })
      this.#readTo = from
    }
    return this.#stretch.at(-1)
  }

  pop(): void {
    const record = this.#stretch.pop()
    if (record) this.#end = record.offset
  }
}

const stretchOffsets = 64

async function newestOf(tails: readonly PartitionTail[]) {
  let newest: { readonly tail: PartitionTail; readonly record: LogRecord } | null = null
  for (const tail of tails) {
    const record = await tail.newest()
    if (record && (newest === null || record.appendTimeMs > newest.record.appendTimeMs)) newest = { tail, record }
  }
  return newest
}

async function readRange(
  log: EventLog,
  range: { readonly partition: Partition; readonly from: Offset; readonly end: Offset },
): Promise<LogRecord[]> {
  const { partition, from, end } = range
  const reader = await log.openReader({
    topic: deadLetterTopic,
    partitions: [partition],
    from: new Map([[partition, from]]),
  })
  try {
    const records: LogRecord[] = []
    while (reader.position(partition) < end)
      for (const record of await reader.poll(end - from, 1_000)) if (record.offset < end) records.push(record)
    return records
  } finally {
    await reader.close()
  }
}

async function readOne(log: EventLog, partition: Partition, offset: Offset): Promise<LogRecord | undefined> {
  const [record] = await readRange(log, { partition, from: offset, end: asOffset(offset + 1) })
  return record
}

function handledKey(id: string): string {
  return `dead-letter:${id}`
}

function handlingOf(value: Uint8Array): LetterHandling {
  return Buffer.from(value).toString() === 'redriven' ? 'redriven' : 'dropped'
}

function notFound(id: string): FreshetError {
  return new FreshetError('dead-letter-not-found', `there is no dead letter ${id}`)
}

function parseId(id: string): { readonly partition: Partition; readonly offset: Offset } {
  const [, partition, offset] = /^(\d{1,9})-(\d{1,15})$/.exec(id) ?? []
  if (partition === undefined || offset === undefined) throw notFound(id)
  return { partition: asPartition(Number(partition)), offset: asOffset(Number(offset)) }
}

/** Per partition the offset below which to go on; a partition without one is exhausted. */
function formatCursor(tails: readonly PartitionTail[]): string {
  return Buffer.from(JSON.stringify(tails.map(({ partition, end }) => [partition, end]))).toString('base64url')
}

function parseCursor(cursor: string): ReadonlyMap<Partition, Offset> {
  try {
    const bounds: unknown = JSON.parse(Buffer.from(cursor, 'base64url').toString())
    if (Array.isArray(bounds) && bounds.every(isBound)) return new Map(bounds)
  } catch (cause) {
    throw new FreshetError('bad-request', 'after is not a cursor of this list', { cause: asFreshetError(cause) })
  }
  throw new FreshetError('bad-request', 'after is not a cursor of this list')
}

function isBound(value: unknown): value is readonly [Partition, Offset] {
  return Array.isArray(value) && value.length === 2 && value.every(Number.isSafeInteger)
}
